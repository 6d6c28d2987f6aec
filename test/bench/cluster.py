#!/usr/bin/env python3
"""cluster.py [PARTS]: nodes on PostgreSQL beside a node on SQLite, in the same run, with the load harness beside the repository.

PARTS: lmtp, select, nodes, standby [all of these], and growth (an hour, 30 GB). PostgreSQL comes from Debian; must be root (the server runs as user postgres).
WORK: where everything is kept [/var/tmp/bahnpost-cluster]; R: runs a figure [3]; BODIES: more arguments of init for the
cluster's nodes, for example "--blobs s3://bucket?endpoint=…". Results: a table on standard output, figures in $WORK/cluster.json.
Each figure is shown with the processor time of nodes and of the database apart. Nothing else should run on the machine meanwhile.
"""
import base64, glob, hashlib, json, os, shutil, signal, statistics, subprocess, sys, time, urllib.request

HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORK = os.environ.get("WORK", "/var/tmp/bahnpost-cluster")
HARNESS = os.environ.get("HARNESS", os.path.join(HERE, "..", "shared", "bench"))
R = int(os.environ.get("R", "3"))
PGBIN = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
BAHNPOST = os.path.join(HERE, "bin", "bahnpost")
USERS, BIG = 5000, 9000  # accounts for deliveries; number of the one with the mailbox of 100,000
TICK = os.sysconf("SC_CLK_TCK")
started = []


def ticks(pid, tree):
    """Processor seconds of a process, with its children if tree, those that ended too."""
    pids, total = [pid], 0
    while pids:
        p = pids.pop()
        try:
            with open(f"/proc/{p}/stat") as f:
                fields = f.read().rpartition(")")[2].split()
            total += sum(int(x) for x in fields[11:15])
            if tree:
                for task in os.listdir(f"/proc/{p}/task"):
                    with open(f"/proc/{p}/task/{task}/children") as f:
                        pids += [int(x) for x in f.read().split()]
        except OSError:
            pass
    return total / TICK


class Postgres:
    """A server of its own below WORK, with the settings that docs/operations/cluster.md names."""

    def __init__(self, name, port, follows=None):
        self.dir, self.port = os.path.join(WORK, name), port
        if not os.path.isdir(self.dir):
            os.makedirs(self.dir, exist_ok=True)
            shutil.chown(self.dir, "postgres", "postgres")
            os.chmod(self.dir, 0o700)
            if follows:
                self.run("pg_basebackup", "-h", "127.0.0.1", "-p", str(follows.port), "-U", "postgres", "-D", self.dir, "-R", "-c", "fast",
                         "--dbname", "application_name=" + name)
            else:
                self.run("initdb", "-D", self.dir, "-E", "UTF8", "--locale=C.UTF-8", "-A", "trust", "--data-checksums")
        settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.dir, "shared_buffers": "1GB", "max_wal_size": "16GB",
                    "checkpoint_timeout": "15min", "wal_compression": "lz4", "max_connections": 200, "autovacuum_vacuum_scale_factor": "0.02"}
        args = " ".join(f"-c {k}={v}" for k, v in settings.items())
        self.run("pg_ctl", "-D", self.dir, "-w", "-l", os.path.join(self.dir, "log"), "-o", args, "start")
        with open(os.path.join(self.dir, "postmaster.pid")) as f:
            self.pid = int(f.readline())
        started.append(self)

    def run(self, program, *args):
        subprocess.run(["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", os.path.join(PGBIN, program), *args], check=True,
                       stdout=subprocess.DEVNULL, cwd="/")

    def sql(self, text, db="postgres"):
        out = subprocess.run([os.path.join(PGBIN, "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-Atqc", text, db], check=True,
                             capture_output=True, text=True)
        return out.stdout.strip()

    def url(self, db):
        return f"postgres://postgres@127.0.0.1:{self.port}/{db}"

    def cpu(self):
        return ticks(self.pid, True)

    def stop(self):
        self.run("pg_ctl", "-D", self.dir, "-m", "fast", "-w", "stop")


class Node:
    """A bahnpost process; url "" is the embedded store."""

    def __init__(self, name, offset, url=""):
        self.name, self.offset, self.dir = name, offset, os.path.join(WORK, name)
        if not os.path.isdir(self.dir):
            init = [BAHNPOST, "init", self.dir, "--domain", "example.test", "--hostname", name + ".example.test", "--loopback", "--port-offset", str(offset)]
            if url:
                init += ["--store", url] + os.environ.get("BODIES", "").split()
            subprocess.run(init, check=True, stdout=subprocess.DEVNULL)
        self.start()

    def start(self):
        self.process = subprocess.Popen([BAHNPOST, "serve", self.dir], stderr=open(self.dir + ".log", "a"))
        for _ in range(400):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.offset + 80}/readyz", timeout=1)
                break
            except OSError:
                time.sleep(0.05)
        else:
            sys.exit(f"{self.name} does not answer; see {self.dir}.log")
        started.append(self)

    def cpu(self):
        return ticks(self.process.pid, False)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def furnish(node):
    """The harness's users, with one hash: hashing is not what is measured."""
    mark = os.path.join(node.dir, "furnished")
    if os.path.exists(mark):
        return
    salt = os.urandom(8)
    secret = "{SSHA512}" + base64.b64encode(hashlib.sha512(b"secret" + salt).digest() + salt).decode()
    path = os.path.join(WORK, "users.csv")
    with open(path, "w") as f:
        f.write("address,password\n")
        for i in [*range(USERS), BIG]:
            f.write(f"user{i:05d}@example.test,{secret}\n")
    subprocess.run([BAHNPOST, "account", "import", path, "--dir", node.dir], check=True, stdout=subprocess.DEVNULL)
    open(mark, "w").close()


def bench(*args):
    """Starts the harness; finish reads what it reports."""
    path = os.path.join(WORK, f"run-{time.monotonic_ns()}.json")
    p = subprocess.Popen(["./mailbench", *[str(a) for a in args], "--json", path], cwd=os.path.join(WORK, "bench"), stdout=subprocess.PIPE, text=True)
    return p, path


def finish(run):
    p, path = run
    out, _ = p.communicate()
    with open(path) as f:
        result = json.loads(f.readlines()[-1])
    os.unlink(path)
    if p.returncode:
        print(out, file=sys.stderr)
    return result


results = {}


def measure(label, nodes, database, *args, share=1):
    """One run: the same load on each of nodes at once; rates added, processor time for each message or operation."""
    n0, d0, t0 = [n.cpu() for n in nodes], database.cpu() if database else 0, time.monotonic()
    runs = [bench(args[0], "--addr", f"127.0.0.1:{n.offset + (24 if args[0] == 'lmtp' else 143)}", "--seed", len(results.get(label, [])) * 8 + i + 1, *args[1:])
            for i, n in enumerate(nodes)]
    done = [finish(r) for r in runs]
    seconds = time.monotonic() - t0
    ops = max(sum(d["ops"] for d in done), 1)
    results.setdefault(label, []).append({
        "ops": ops, "errors": sum(d["errors"] for d in done), "per_s": sum(d["ops_per_s"] for d in done), "p50_ms": statistics.median(d["p50_ms"] for d in done),
        "p99_ms": max(d["p99_ms"] for d in done), "node_ms": sum(n.cpu() - c for n, c in zip(nodes, n0)) * 1000 / ops,
        "database_ms": ((database.cpu() if database else 0) - d0) * 1000 / ops, "client_ms": sum(d["client_cpu_s"] for d in done) * 1000 / ops, "seconds": seconds})


def populate(node):
    """A mailbox of 100,000 messages, known to the harness."""
    mark = os.path.join(node.dir, "big")
    if not os.path.exists(mark):
        finish(bench("imap-append", "--addr", f"127.0.0.1:{node.offset + 143}", "--populate", "--count", 100000, "--users", 1, "--user-base", BIG,
                     "--mailbox", "Big", "--create", "--conc", 1))
        open(mark, "w").close()


def part_lmtp(lone, nodes, database):
    for _ in range(R):
        for conc in 8, 32:
            for corpus in [], ["--corpus", "small"]:
                what = f"lmtp c{conc}" + (" small" if corpus else "")
                measure(what + ", SQLite", [lone], None, "lmtp", "--conc", conc, "--users", USERS, "--count", 50000, "--duration", "6s", *corpus)
                measure(what + ", PostgreSQL", nodes[:1], database, "lmtp", "--conc", conc, "--users", USERS, "--count", 50000, "--duration", "6s", *corpus)


def part_select(lone, nodes, database):
    big = ["--users", 1, "--user-base", BIG, "--conc", 1, "--mailbox", "Big"]
    for name, node, base in ("SQLite", lone, None), ("PostgreSQL", nodes[0], database):
        populate(node)
    for _ in range(R):
        for name, node, base in ("SQLite", lone, None), ("PostgreSQL", nodes[0], database):
            measure("select 100k warm, " + name, [node], base, "imap-select", *big, "--count", 20, "--expect", 100000)
            measure("select 100k cold, " + name, [node], base, "imap-select", *big, "--count", 3, "--expect", 100000, "--drop-caches")
            measure("flags 100k, " + name, [node], base, "imap-fetch-flags", *big, "--count", 5)
            measure("envelope 100k, " + name, [node], base, "imap-fetch-envelope", *big, "--count", 3)


def part_nodes(lone, nodes, database):
    for _ in range(R):
        for n in 1, 2, 3:
            measure(f"lmtp {n} nodes, 48 connections in all", nodes[:n], database, "lmtp", "--conc", 48 // n, "--users", USERS, "--count", 50000, "--duration", "6s")
            measure(f"lmtp small {n} nodes, 48 connections in all", nodes[:n], database, "lmtp", "--conc", 48 // n, "--users", USERS, "--count", 50000,
                    "--duration", "6s", "--corpus", "small")


def part_standby(lone, nodes, database):
    standby = Postgres("standby", database.port + 1, follows=database)
    for _ in range(R):
        for names, label in ("", "without standby"), ("*", "synchronous standby"):
            database.sql(f"ALTER SYSTEM SET synchronous_standby_names='{names}'")
            database.sql("SELECT pg_reload_conf()")
            time.sleep(1)
            both = standby if names else None
            s0 = both.cpu() if both else 0
            measure("lmtp c32, " + label, nodes[:1], database, "lmtp", "--conc", 32, "--users", USERS, "--count", 50000, "--duration", "6s")
            if both:
                last = results["lmtp c32, " + label][-1]
                last["database_ms"] += (both.cpu() - s0) * 1000 / last["ops"]
    database.sql("ALTER SYSTEM RESET synchronous_standby_names")
    database.sql("SELECT pg_reload_conf()")


# Accounts in the directory, and messages in all: the first accounts get 10,000 each.
GROWTH = [(10_000, 0), (100_000, 0), (1_000_000, 0), (1_000_000, 1_000_000), (1_000_000, 10_000_000), (1_000_000, 50_000_000)]
EACH = 10_000


def part_growth(lone, nodes, database):
    node = nodes[0]
    finish(bench("lmtp", "--addr", f"127.0.0.1:{node.offset + 24}", "--conc", 1, "--users", 1, "--count", 1, "--corpus", "small"))
    for accounts, messages in GROWTH:
        if messages > int(os.environ.get("GROW", "50000000")):
            break
        done = int(database.sql("SELECT coalesce(sum(msgs), 0) FROM mailboxes WHERE name='INBOX'", "bahnpost"))
        node.stop()
        boxes = max(messages - done, 0) // EACH
        begin = time.monotonic()
        subprocess.run([os.path.join(PGBIN, "psql"), "-h", "127.0.0.1", "-p", str(database.port), "-U", "postgres", "-q", "-v", "ON_ERROR_STOP=1",
                        "-v", f"accounts={accounts}", "-v", f"boxes={boxes}", "-v", f"each={EACH if boxes else 0}",
                        "-f", os.path.join(HERE, "test", "bench", "grow.sql"), "bahnpost"], check=True)
        print(f"{accounts} accounts, {messages} messages: {database.sql('SELECT pg_size_pretty(pg_database_size(current_database()))', 'bahnpost')}, "
              f"grown in {time.monotonic() - begin:.0f} s", flush=True)
        node.start()
        started.remove(node)
        label = f"{accounts:,} accounts, {messages:,} messages: "
        address = f"127.0.0.1:{node.offset + 143}"
        for _ in range(R):
            measure(label + "deliver", [node], database, "lmtp", "--conc", 8, "--users", accounts, "--count", 50000, "--duration", "5s", "--corpus", "small")
            measure(label + "login and SELECT", [node], database, "imap-select", "--conc", 4, "--users", min(accounts, 5000), "--mailbox", "INBOX", "--count", 2000)
            measure(label + "STORE", [node], database, "imap-store", "--conc", 4, "--users", 100, "--mailbox", "INBOX", "--count", 2000)


def table():
    print(f"\n{'':48s} {'per s':>8s} {'p50 ms':>8s} {'p99 ms':>8s} {'node ms':>8s} {'db ms':>8s} {'client':>8s} errors")
    for label, runs in results.items():
        mid = {k: statistics.median(r[k] for r in runs) for k in runs[0]}
        print(f"{label:48s} {mid['per_s']:8.0f} {mid['p50_ms']:8.2f} {mid['p99_ms']:8.2f} {mid['node_ms']:8.3f} {mid['database_ms']:8.3f} "
              f"{mid['client_ms']:8.3f} {sum(r['errors'] for r in runs)}")
    with open(os.path.join(WORK, "cluster.json"), "w") as f:
        json.dump(results, f, indent=1)


def main():
    parts = (sys.argv[1] if len(sys.argv) > 1 else "lmtp,select,nodes,standby").split(",")
    os.makedirs(WORK, exist_ok=True)
    subprocess.run(["make", "-s", "-C", HERE, "build"], check=True)
    if not os.path.exists(os.path.join(WORK, "bench", "mailbench")):
        subprocess.run(f"cp -r '{HARNESS}' '{WORK}/bench' && chmod -R u+w '{WORK}/bench' && cd '{WORK}/bench' && go build -o mailbench .", shell=True, check=True)
    if not os.path.exists("/var/tmp/peers/corpus.mbc"):
        os.makedirs("/var/tmp/peers", exist_ok=True)
        subprocess.run(["./mailbench", "gen", "--out", "/var/tmp/peers/corpus.mbc"], cwd=os.path.join(WORK, "bench"), check=True)
    database = Postgres("pg", int(os.environ.get("PGPORT", "5540")))
    if not database.sql("SELECT 1 FROM pg_database WHERE datname='bahnpost'"):
        database.sql("CREATE DATABASE bahnpost TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
    lone = Node("lone", 14000)
    nodes = [Node(f"n{i}", 14000 + 1000 * i, database.url("bahnpost")) for i in range(1, 4 if "nodes" in parts else 2)]
    furnish(lone)
    furnish(nodes[0])
    for p in parts:
        globals()["part_" + p](lone, nodes, database)
        table()


try:
    main()
finally:
    for s in reversed(started):
        s.stop()
