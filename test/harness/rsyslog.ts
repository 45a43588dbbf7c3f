import { execFileSync } from "node:child_process";
import { access, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../proxy/embedded/postgres.ts";
import { CACHE, unpackTogether } from "./debian.ts";
import { endTied, spawnTied } from "./tied.ts";

/** A receiver of syslog over TLS that keeps what it gets in a file. */
export interface Rsyslog {
  readonly port: number;
  /** The authority that signs its certificate. */
  readonly ca: string;
  /** A line a message: `SEVERITY|FACILITY|APP|MSGID|TIME|MESSAGE`. */
  messages(): Promise<readonly string[]>;
  /** Ends it, and begins it anew at the same port, with what it has kept. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Debian's rsyslog, or why this machine cannot have it. */
export async function startRsyslog(): Promise<Rsyslog> {
  const root = join(CACHE, "rsyslog-openssl");
  const program = join(root, "usr/sbin/rsyslogd");
  const isThere = await access(program).then(
    () => true,
    () => false,
  );
  if (!isThere) await unpackTogether(["rsyslog", "rsyslog-openssl"], root);
  const folder = await mkdtemp(join(tmpdir(), "sluice-rsyslog-"));
  const port = await freePort();
  const { certificate, key } = makeCertificate(folder);
  const [log, configuration] = [join(folder, "log"), join(folder, "rsyslog.conf")];
  const { libraries, modules } = await foldersIn(root);
  await writeFile(
    configuration,
    `global(workDirectory="${folder}" maxMessageSize="256k" defaultNetstreamDriver="ossl"
  defaultNetstreamDriverCAFile="${certificate}" defaultNetstreamDriverCertFile="${certificate}" defaultNetstreamDriverKeyFile="${key}")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon")
input(type="imtcp" address="127.0.0.1" port="${port}")
template(name="raw" type="string"
  string="%syslogseverity-text%|%syslogfacility%|%app-name%|%msgid%|%timestamp:::date-rfc3339%|%msg%\\n")
*.* action(type="omfile" file="${log}" template="raw")
`,
  );
  const begin = async () => {
    const args = ["-n", "-f", configuration, "-i", join(folder, "pid"), "-M", modules];
    const child = spawnTied(
      { path: program, environment: { LD_LIBRARY_PATH: libraries }, way: program },
      args,
    );
    let said = "";
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding("utf8").on("data", (text: string) => {
        said = (said + text).slice(-4_000);
      });
    while (!(await listens(port)))
      if (child.exitCode !== null) throw new Error(`rsyslogd ended (${child.exitCode}): ${said}`);
    return child;
  };
  let child = await begin();
  return {
    ...{ port, ca: certificate },
    messages: async () => (await readFile(log, "utf8").catch(() => "")).split("\n").filter(Boolean),
    async restart() {
      await endTied(child, "SIGTERM");
      child = await begin();
    },
    async stop() {
      await endTied(child, "SIGTERM");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function makeCertificate(folder: string): { readonly certificate: string; readonly key: string } {
  const [certificate, key] = [join(folder, "server.pem"), join(folder, "server.key")];
  const args =
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost";
  const names = ["-addext", "subjectAltName=DNS:localhost"];
  execFileSync("openssl", [...args.split(" "), ...names, "-keyout", key, "-out", certificate], {
    stdio: "ignore",
  });
  return { certificate, key };
}

async function foldersIn(root: string): Promise<{ readonly libraries: string; readonly modules: string }> {
  const triplets = (await readdir(join(root, "usr/lib"))).filter((name) => name.includes("-linux-gnu"));
  const triplet = triplets[0] ?? "";
  return {
    libraries: [join(root, "usr/lib", triplet), join(root, "lib", triplet)].join(":"),
    modules: join(root, "usr/lib", triplet, "rsyslog"),
  };
}

/** Whether somebody takes connections there. */
function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" });
    const end = (is: boolean) => {
      socket.destroy();
      resolve(is);
    };
    socket.once("connect", () => end(true)).once("error", () => setTimeout(() => end(false), 20));
  });
}
