"""An allocator that is told to keep what is freed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import TINY

HOLDS = """
import ctypes, re, sys
if sys.argv[1] == "true":
    from colorize.malloc import keep_freed_memory
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
block = libc.malloc(64 << 20)
libc.memset(block, 1, 64 << 20)
libc.free(block)
print(int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_an_allocator_that_is_told_keeps_what_is_freed():
    held = {
        on: int(subprocess.run([sys.executable, "-c", HOLDS, on], capture_output=True, text=True, check=True).stdout)
        for on in ("false", "true")
    }
    assert held["false"] < 32 and held["true"] >= 64  # MiB


def test_where_there_is_no_glibc_the_setting_is_refused(train, monkeypatch):
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    with pytest.raises(ValueError, match=r"trainer.malloc=true is for Linux with glibc"):
        train(*TINY, "trainer.malloc=true")


def test_a_switch_is_true_or_false(train):
    for wrong in (1, 2):  # 1 == True
        with pytest.raises(ValueError, match=rf"trainer.malloc={wrong} is not one of: auto, true, false"):
            train(*TINY, f"trainer.malloc={wrong}")
    for switch in ("checkpointing", "fast_convolutions"):
        with pytest.raises(ValueError, match=rf"trainer.{switch}=2 is not true or false"):
            train(*TINY, f"trainer.{switch}=2")
