"""Why the lab differs from the bed where it does: by scenario and figure. Written by hand; without one here, `make fidelity` fails."""

# Kernels remember connections; the lab's network does not.
TRACKING = (
    "the lab's network tracks no connections. On the bed a client's port that was sent to the dead pod leads there for as long as new "
    "connections from it keep the entry alive: the requests that fail after the Service works again are `connect-timeout-same-port` "
    "([measures](measures.md#a-request)), some dozens in a run."
)
# Seen in runs of the bed alone, as the lab's API server answers before its watches tell.
ANSWERED = (
    "the report's, not the model's. It counts as detection only what the watch showed after the deletion was answered. On the bed the endpoint's "
    "change is sometimes seen a moment before the answer, and then the next sign is taken: the end of the container."
)

CAUSES = {
    "03-kill-single": {"recovery": TRACKING, "downtime": TRACKING},
    "04-no-pre-stop": {"detection": ANSWERED},
    "05-pre-stop": {"detection": ANSWERED},
    "07-startup-probe": {"outage": TRACKING, "recovery": TRACKING},
}
