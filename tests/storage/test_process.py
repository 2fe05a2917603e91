"""The process that asks: the cores that it may use, on any system."""

import os

import pytest

from storage import process


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system does not say")
def test_cores_are_those_that_the_process_may_use():
    one = {min(os.sched_getaffinity(0))}
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, one)
    try:
        assert process.cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert process.cores() == len(allowed)


def test_a_system_that_does_not_say_has_all_of_them(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert process.cores() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert process.cores() == 1


def test_a_system_without_proc_names_its_processes_all_the_same(monkeypatch):
    monkeypatch.setattr(process, "_space", lambda: "")
    monkeypatch.setattr(process, "_birth", lambda pid: "")
    me = process.this("python -m preprocess")
    assert process.from_json(me.to_json()) == me and not me.surely_dead()
