"""What `deploy/` has: the image, the compose file, files for Kubernetes, Prometheus rules and dashboards."""
