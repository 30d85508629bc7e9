# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
"""Runs all tests of the cloud, and closes with a line as nextest's, which CI counts."""

from __future__ import annotations

import sys
import time
import unittest
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Ends with 1 when a test failed, or when there was none."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    began = time.monotonic()
    suite = unittest.defaultTestLoader.discover(str(HERE))
    result = unittest.TextTestRunner(verbosity=int("-v" in sys.argv) + 1, buffer=True).run(suite)
    failed = len({test.id() for test, _ in result.failures + result.errors})
    passed = result.testsRun - failed
    print(f"     Summary [{time.monotonic() - began:8.3f}s] {result.testsRun} tests run: {passed} passed, {failed} failed, 0 skipped")
    sys.exit(0 if passed and not failed else 1)


if __name__ == "__main__":
    main()
