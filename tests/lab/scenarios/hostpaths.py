"""What else a host has on the paths of a node: links, bind mounts, automounts. In each story
`rehearse`, `doctor`, `status` and the real boot that follows agree."""

import re

from node import ROOTS, check, says
from scenarios import group
from scenarios.gates import PLACES
from scenarios.rehearse import came_back, power_cut
import stick


def host_paths(lab):
    """A node that is up, with nothing for `doctor` to mend."""
    node = lab.node("host-paths")
    node.life = 6000
    node.start([(lab.sticks.good(), stick.SERIAL)])
    node.settled()
    node.ok("for from in /data /; do mount --bind $from /mnt; rm -f /mnt/nfs/BARE-DIRECTORY /mnt/data/nfs/BARE-DIRECTORY; "
            "umount /mnt; done; zfs set readonly=on setuid=off devices=off exec=off zdata/sink; "
            "zfs destroy zdata/hex; zfs destroy zdata/pass")
    done = node.f3skeys("doctor")
    check(done.status == 0, done)
    return node


scenario = group(host_paths)
NFSDATA = "zdata/enc/nfsdata"
REAL = "/var/lib/x/data"


def asked(node):
    """What `rehearse` and `doctor` say of a node on which nothing is masked."""
    node.ok("systemctl unmask --runtime f3skeys-late.service")
    said = node.f3skeys("rehearse"), node.f3skeys("doctor")
    node.quiet()
    return said


def agree(node, lab, well, *words, doctor=None):
    """Rehearses, asks doctor, cuts the power, and holds all three and the status against each other.
    `words` are said by both; `doctor` is the exit status of that, where it is not the usual one."""
    said, examined = asked(node)
    power_cut(node)
    statuses, gates = came_back(node)
    told = f"{said}\n{examined}\nthe boot: exits {statuses}, all gates open: {gates}\n{node.f3skeys('status')}"
    check((gates and statuses == [0, 0]) == well, f"the fault is none, or too much of one\n{told}")
    check((said.status == 0) == well, f"the rehearsal was wrong\n{told}")
    wanted = doctor if doctor is not None else 0 if well else 69
    check(examined.status == wanted, told)
    for done in (said, examined):
        says(done, *words)
    status = lab.json(node.sh("f3skeys status --json").out)
    check(all(gate["state"] == "open" for gate in status["gates"]) == well, status["gates"])
    node.check_store_unmounted()
    return said, examined


@scenario("links on the way to every mountpoint, as image-based systems have them: yes, all gates open, nothing to mend, and "
          "no word of leftovers; the gate by the other name of the directory as well")
def links(node, lab):
    node.shut()
    node.ok("mkdir -p /var/lib/x && mv /data /var/lib/x/data && ln -s var/lib/x/data /data")
    power_cut(node)
    _, examined = agree(node, lab, True)
    check("nothing to mend" in examined.out and "move it away" not in examined.out, examined)
    node.check_mounted({path.replace("/data", "/var/lib/x/data", 1): seen for path, seen in PLACES.items()})
    # Export and mount by the link: the NFS server of Linux knows the real path alone.
    seen = node.ok(f"timeout 60 mount -t nfs -o vers=4.2,soft,timeo=50,retrans=1,retry=0 127.0.0.1:{REAL}/nfs /mnt && ls -A /mnt && umount /mnt")
    check("SENTINEL" in seen and "BARE-DIRECTORY" not in seen, seen)
    node.ok("""sed -i 's|mounted(path: "/data/nfs"|mounted(path: "/var/lib/x/data/nfs"|' /etc/f3skeys.ron""")
    agree(node, lab, True)
    node.ok("""sed -i 's|mounted(path: "/var/lib/x/data/nfs"|mounted(path: "/data/nfs"|' /etc/f3skeys.ron""")


@scenario("a file beneath a mountpoint that is reached by a link is found, and what is served there is no leftover")
def leftovers(node, lab):
    node.ok("mount --bind /data /mnt && touch /mnt/nfs/LOST && umount /mnt")
    _, done = asked(node)
    check(done.status == 69, done)
    says(done, "/var/lib/x/data/nfs/LOST", "is not empty beneath zdata/enc/nfsdata")
    check("SENTINEL" not in done.out, done)
    node.ok("mount --bind /data /mnt && rm /mnt/nfs/LOST && umount /mnt")
    check(asked(node)[1].status == 0, "it is mended")
    node.shut()
    node.ok("rm /data && mv /var/lib/x/data /data")
    power_cut(node)
    agree(node, lab, True)
    node.check_loaded(*ROOTS)


EXPORT = "/data/nfs /export none {} 0 0"
UNIT = "/etc/systemd/system/export.mount"


def given(examined, start):
    """The line that doctor says is to be written, by its beginning."""
    found = re.search(rf"write `({re.escape(start)}[^`]*)`", examined.out)
    check(found, examined)
    return found[1]


def binds_well(node, lab):
    """The next boot is well, and the bind shows the dataset and not the directory under it."""
    agree(node, lab, True)
    node.until("mountpoint -q /export", 60, "it is bound")
    check(node.ok("findmnt -no SOURCE /export").strip().split("[")[0] == NFSDATA, node.mounts())


@scenario("a line of fstab that binds a served path before the keys come: no, with its export; the gate stays closed and names the "
          "bind; with the line that doctor gives: yes, and the bind shows the dataset")
def bound_by_fstab(node, lab):
    line = EXPORT.format("bind")
    node.ok(f"mkdir -p /export; echo '{line}' >> /etc/fstab; systemctl daemon-reload; cp -a /etc/exports /root/exports; "
            "echo '/export 127.0.0.1(ro,fsid=7,no_subtree_check)' >> /etc/exports")
    _, examined = agree(node, lab, False, "/export", "before zdata/enc/nfsdata is mounted")
    says(examined, "/etc/exports exports it")
    check("/export shows the directory beneath zdata/enc/nfsdata" in node.f3skeys("gate nfs").err, "the gate does not say it")
    node.ok(f"sed -i 's|^{line}$|{given(examined, '/data/nfs /export')}|' /etc/fstab; cp -a /root/exports /etc/exports")
    binds_well(node, lab)
    node.ok("umount /export; sed -i '/ .export none /d' /etc/fstab; systemctl daemon-reload")


@scenario("a unit that binds it: the same, with what is to be written into the unit")
def bound_by_unit(node, lab):
    wanted = "/etc/systemd/system/{}.wants/export.mount"
    node.write(UNIT, "[Mount]\nWhat=/data/nfs\nWhere=/export\nType=none\nOptions=bind\n[Install]\nWantedBy=local-fs.target\n")
    node.ok("systemctl daemon-reload; systemctl enable export.mount")
    agree(node, lab, False, "/export", "Requires=f3sready.service")
    node.ok("systemctl disable export.mount")
    node.write(UNIT, "[Unit]\nRequires=f3sready.service\nAfter=f3sready.service\n[Mount]\nWhat=/data/nfs\nWhere=/export\nType=none\n"
               "Options=bind\n[Install]\nWantedBy=multi-user.target\n")
    node.ok("systemctl daemon-reload; systemctl enable export.mount")
    binds_well(node, lab)
    node.ok(f"systemctl disable export.mount; umount /export; rm -f {UNIT} {wanted.format('multi-user.target')}; systemctl daemon-reload")


@scenario("the key device's mountpoint is a symbolic link, then an automount of fstab: named as what it is; the boot opens every root "
          "all the same, by a mountpoint of its own")
def keys(node, lab):
    node.ok("rmdir /keys; ln -s /mnt /keys")
    agree(node, lab, True, "/keys is a symbolic link to /mnt")
    node.check_loaded(*ROOTS)
    done = node.f3skeys("verify")
    check(done.status == 0, done)
    node.ok("rm /keys; mkdir /keys; echo 'LABEL=F3S_KEYS /keys auto noauto,ro,x-systemd.automount 0 0' >> /etc/fstab; "
            "systemctl daemon-reload")
    for done in asked(node):
        says(done, "is an automount, by a line of /etc/fstab")
    node.ok("systemctl start keys.automount")
    said, examined = agree(node, lab, True, "is an automount", doctor=69)
    says(said, "/var/lib/f3skeys/stick is taken instead")
    says(examined, "x-systemd.automount")
    node.check_loaded(*ROOTS)
    check(node.ok("systemctl is-active keys.automount").strip() == "active", "the automount is gone")
    node.ok("systemctl stop keys.automount; sed -i '/ .keys auto /d' /etc/fstab; systemctl daemon-reload")
    agree(node, lab, True)
