import { execFileSync } from "node:child_process";
import { chownSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Certificates for TLS tests, made by openssl; those of the server are for localhost. */
export async function makeCertificates() {
  const folder = await mkdtemp(join(tmpdir(), "sluice-certificates-"));
  await chmod(folder, 0o755);
  const make = (name: string, subject: string, more: readonly string[]) => {
    const [certificate, key] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
    const args = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(" ");
    execFileSync(
      "openssl",
      [...args, "-keyout", key, "-out", certificate, "-subj", `/CN=${subject}`, ...more],
      {
        stdio: "ignore",
      },
    );
    return { certificate, key };
  };
  const localhost = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
  const database = make("database", "localhost", localhost);
  // The test server runs as nobody when we are root, and reads only a key of its own.
  if (process.getuid?.() === 0) chownSync(database.key, 65_534, 65_534);
  return {
    proxy: make("proxy", "localhost", localhost),
    database,
    client: make("client", "anna", []),
    stranger: make("stranger", "mallory", []),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
