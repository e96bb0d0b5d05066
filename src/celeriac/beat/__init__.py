"""Schedulers: any number may run, one of them sends."""
