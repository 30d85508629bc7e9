"""Why the lab differs from the bed where it does: by scenario and figure. Written by hand; without one here, `make fidelity` fails."""

# By seed the lab comes to as much, and the bed's runs lie in between: see the ranges below.
CHANCE = (
    "chance. The rehearsals differ among themselves by more than this, and what the bed came to lies between their least and their most: which "
    "source ports come round again, how long the collector of pods still waits, and when kubelets and CoreDNS look at a changed Corefile, is another "
    "thing in each run."
)
# kubeadm's own CoreDNS, which the lab has, is asked every 10 s.
READINESS = (
    "the bed's CoreDNS is asked every second whether it is ready, that of kubeadm and of the lab every 10 s. After SIGTERM it says no, and answers for 5 s "
    "more: on the bed it is out of its Service before that is over, in the lab when it ends."
)

CAUSES = {
    "07-startup-probe": {"recovery": CHANCE},
    "12-zone-spread": {"downtime": CHANCE},
    "13-zone-packed": {"outage": CHANCE},
    "14-group-held": {"recovery": CHANCE},
    "15-dns-to-zero": {"outage": READINESS, "downtime": READINESS},
    "16-dns-nxdomain": {"outage": CHANCE, "downtime": CHANCE},
}
