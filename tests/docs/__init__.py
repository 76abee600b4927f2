"""Tests of the documents: tables, links, examples and shown calls."""
