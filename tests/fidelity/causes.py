"""Why the lab differs from the bed where it does: by scenario and figure. Written by hand; without one here, `make fidelity` fails."""

CAUSES = {}
