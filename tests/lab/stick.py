"""Key sticks: UFS1 images as FreeBSD writes them, ext4 ones as Linux does, and the ways in which
they go wrong. Those of ext4 can be looked into from outside, without the machine and its f3skeys.
"""

import hashlib
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile

import host

LABEL = "F3S_KEYS"
SERIAL = "4C530001"

# Offsets in FreeBSD's `struct fs`; a UFS1 superblock is at byte 8192.
SUPERBLOCK = 8192
FS_CLEAN = 209
FS_VOLNAME = 680
FS_MAGIC = 1372
UFS1_MAGIC = 0x011954


def write_tree(folder, keys, plain=False):
    """Fills `folder` with a store of `keys` (name to path): format 1, or as the articles have it."""
    if plain:
        folder.mkdir(parents=True)
        for name, path in keys.items():
            shutil.copy(path, folder / f"{name}.key")
    else:
        pairs = [f"{name}={path}" for name, path in keys.items()]
        host.run(store_maker(), folder, *pairs)
    seal(folder)


def store_maker():
    """The project's own example program that lays a format-1 store out."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", host.PROJECT / "target"))
    return target / "release/examples/store"


def seal(folder):
    """Owner and modes as on a real stick."""
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, 0, 0)
        path.chmod(0o700 if path.is_dir() else 0o400)


def copies(folder, name):
    """Every file of the store that holds key `name`: the derived one and the generations."""
    found = [folder / f"{name}.key", *sorted((folder / ".f3skeys" / name).glob("*.key"))]
    return [path for path in found if path.exists()]


def rewrite(path, data):
    """Changes a file of a store in place, its mode kept."""
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(0o400)


def flip_one(path):
    """One bit flipped in a file."""
    data = bytearray(path.read_bytes())
    data[17] ^= 0x04
    rewrite(path, bytes(data))


def flip(folder, name, only=None):
    """One bit flipped in every copy of a key (or in the first `only` of them)."""
    for path in copies(folder, name)[:only]:
        flip_one(path)


def truncate(folder, name):
    """A key that lost its last byte, in every copy."""
    for path in copies(folder, name):
        rewrite(path, path.read_bytes()[:-1])


def swap(folder, one, other):
    """Two keys under each other's names, in every copy."""
    for left, right in zip(copies(folder, one), copies(folder, other), strict=True):
        a, b = left.read_bytes(), right.read_bytes()
        rewrite(left, b)
        rewrite(right, a)


def clear(folder):
    """Nothing is left."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def photos(folder):
    """Not a key store at all."""
    clear(folder)
    (folder / "IMG_0001.JPG").write_bytes(bytes(range(256)) * 40)


def image(folder, out, fs="ufs1", label=LABEL, clean=True):
    """Makes the image of a tree, with the file system of this name."""
    FILE_SYSTEMS[fs](folder, out, label, clean)


def ufs1(folder, out, label, clean):
    """What makefs cannot set is patched in."""
    host.run("makefs", "-t", "ffs", "-o", "version=1", "-s", "4m", out, folder)
    with open(out, "r+b") as file:
        file.seek(SUPERBLOCK + FS_MAGIC)
        if struct.unpack("<I", file.read(4))[0] != UFS1_MAGIC:
            raise host.LabError(f"{out}: makefs made no UFS1")
        file.seek(SUPERBLOCK + FS_VOLNAME)
        file.write(label.encode().ljust(32, b"\0"))
        file.seek(SUPERBLOCK + FS_CLEAN)
        file.write(b"\1" if clean else b"\0")


def ext4(folder, out, label, clean):
    """With a journal, as `init` makes it; one that is not clean has something to replay."""
    host.run(host.which("mke2fs"), "-q", "-t", "ext4", "-F", "-L", label, "-m", "0", "-d", folder, out, "4m")
    if not clean:
        debugfs(out, "feature needs_recovery", write=True)


def ext4_bare(folder, out, label, clean):
    """Without a journal."""
    host.run(host.which("mke2fs"), "-q", "-t", "ext4", "-F", "-L", label, "-O", "^has_journal",
             "-m", "0", "-d", folder, out, "4m")
    if not clean:
        debugfs(out, "set_super_value state 0", write=True)


FILE_SYSTEMS = {"ufs1": ufs1, "ext4": ext4, "ext4-bare": ext4_bare}


def debugfs(image_, request, write=False):
    """One request of debugfs; it always exits with 0, and what went wrong is among what it says."""
    # Reading needs no bitmaps, which a cut may have left behind their checksums; the kernel does not
    # look at them either when it mounts read-only.
    option = ["-w"] if write else ["-c"]
    return host.run(host.which("debugfs"), *option, "-R", request, image_)


def files(image_, mended=False):
    """What lies on an ext4 stick: path to bytes. As it is, which is what a read-only mount sees; or
    as it would be after a person's `fsck -y`."""
    with tempfile.TemporaryDirectory(dir=image_.parent) as folder:
        copy, tree = pathlib.Path(folder) / "copy.img", pathlib.Path(folder) / "tree"
        shutil.copy(image_, copy)
        tree.mkdir()
        if mended:
            subprocess.run([host.which("e2fsck"), "-fy", copy], capture_output=True, check=False)
        said = debugfs(copy, f"rdump / {tree}")
        found = {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    if not found:
        raise host.LabError(f"{image_}: nothing on it, or not to be read: {said}")
    return found


class Sticks:
    """Makes each kind of stick once, in the run's working directory, when it is first asked for."""

    def __init__(self, folder, keys):
        self.folder, self.keys, self.digests = folder, keys, {}

    def good(self):
        """A format-1 store with every key."""
        return self.make("good")

    def blank(self):
        """A stick with nothing on it, not even a file system."""
        return self.keep("blank", lambda out: host.run("truncate", "-s", "4m", out))

    def make(self, kind, damage=None, plain=False, **options):
        """The image of `kind`; `damage` is applied to the tree before it is made."""
        def fill(out):
            tree = self.folder / f"stick-{kind}"
            write_tree(tree, self.keys, plain)
            if damage:
                damage(tree)
            image(tree, out, **options)
            shutil.rmtree(tree)
        return self.keep(kind, fill)

    def own(self, source, name):
        """A copy of a stick that may be written to."""
        out = self.folder / f"own-{name}.img"
        shutil.copy(source, out)
        return out

    def keep(self, kind, fill):
        """Makes an image once, and remembers what was in it."""
        out = self.folder / f"stick-{kind}.img"
        if out not in self.digests:
            fill(out)
            self.digests[out] = digest(out)
        return out

    def changed(self):
        """The images that somebody has written to."""
        return [path.name for path, before in self.digests.items() if digest(path) != before]


def digest(path):
    """Of an image, to see that nobody wrote to it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
