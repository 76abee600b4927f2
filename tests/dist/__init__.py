"""What `make dist` builds, used as a stranger would: outside the checkout, from the artefacts alone."""
