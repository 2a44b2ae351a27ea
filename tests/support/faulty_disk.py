"""Disk of a running server that becomes slow or fails at will: a small C library before libc, told by a control file.

The control file holds ``OPERATION ERROR DELAY_US PATH-PART``. OPERATION is sync, write or any; ERROR an errno or 0.
Writes and syncs of files whose path contains PATH-PART are delayed, and fail if ERROR is not 0. An empty file: sound.
The library never needs the interpreter, so a thread that waits in it shows who keeps the interpreter meanwhile.
"""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int harmed(int fd, const char *operation) {
    const char *control = getenv("FAULTY_DISK");
    char wanted[16], part[128], link[64], path[512];
    int error;
    unsigned delay_us;
    FILE *file = control ? fopen(control, "r") : NULL;
    if (!file) return 0;
    int fields = fscanf(file, "%15s %d %u %127s", wanted, &error, &delay_us, part);
    fclose(file);
    if (fields != 4 || (strcmp(wanted, "any") && strcmp(wanted, operation))) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, part)) return 0;
    if (delay_us) usleep(delay_us);
    return error;
}

#define WRAP(type, name, operation, declared, ...)                     \
    type name declared {                                               \
        static type (*next) declared;                                  \
        if (!next) next = dlsym(RTLD_NEXT, #name);                     \
        int error = harmed(fd, operation);                             \
        if (error) { errno = error; return -1; }                       \
        return next(__VA_ARGS__);                                      \
    }
WRAP(int, fsync, "sync", (int fd), fd)
WRAP(int, fdatasync, "sync", (int fd), fd)
WRAP(ssize_t, write, "write", (int fd, const void *data, size_t size), fd, data, size)
WRAP(ssize_t, pwrite, "write", (int fd, const void *data, size_t size, off_t at), fd, data, size, at)
WRAP(ssize_t, pwrite64, "write", (int fd, const void *data, size_t size, off64_t at), fd, data, size, at)
WRAP(int, ftruncate, "write", (int fd, off_t size), fd, size)
WRAP(int, ftruncate64, "write", (int fd, off64_t size), fd, size)
"""


class FaultyDisk:
    """Control of the disk of the processes that are started with ``environment``."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("no C compiler: apt-get install gcc.")
        library, source = folder / "faulty_disk.so", folder / "faulty_disk.c"
        source.write_text(SOURCE)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
        self._control = folder / "control"
        self.heal()
        self.environment = {"LD_PRELOAD": str(library), "FAULTY_DISK": str(self._control)}

    def slow(self, part: str, delay_s: float) -> None:
        """Delay each write and sync of the files whose path contains ``part``."""
        self._set(f"any 0 {round(delay_s * 1e6)} {part}")

    def slow_sync(self, part: str, delay_s: float) -> None:
        """Delay each sync of the files whose path contains ``part``."""
        self._set(f"sync 0 {round(delay_s * 1e6)} {part}")

    def fail(self, part: str, operation: str, error: int = errno.EIO) -> None:
        """Fail each operation, "sync", "write" or "any", on the files whose path contains ``part``."""
        self._set(f"{operation} {error} 0 {part}")

    def heal(self) -> None:
        """Make the disk sound again."""
        self._set("")

    def _set(self, text: str) -> None:
        new = self._control.with_suffix(".new")
        new.write_text(text)
        os.replace(new, self._control)
