"""Writes the Grafana dashboards of deploy/grafana: `overview`, `capacity` and `engines` have their panels."""
