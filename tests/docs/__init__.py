"""Tests of the documentation: tables, links, examples and shown calls. And of the tests' own conventions."""
