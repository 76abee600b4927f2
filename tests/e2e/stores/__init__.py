"""Tests of whole servers that keep events, usage or tenants in stores, which fail or are killed with them."""
