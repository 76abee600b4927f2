"""Tests of whole processes: real servers, engines, probes and signals."""
