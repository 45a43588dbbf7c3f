import { copyFileSync, readFileSync } from "node:fs";
import { request } from "node:https";
import { connect } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeCertificates } from "../../harness/certificates.ts";
import { freshDatabase, type TestDatabase } from "../../harness/postgres.ts";
import { startSluice, type TestSluice } from "../../harness/sluice.ts";
import { form, type Page, type Sent, TOKEN } from "./browsing.ts";

const POLICY = "version: 1\nroles: { app: { users: [helpdesk_app], reads: all, writes: all, sees: all } }\n";

type Files = Awaited<ReturnType<typeof makeCertificates>>;

let files: Files;
let database: TestDatabase;
let sluice: TestSluice;

beforeAll(async () => {
  [files, database] = await Promise.all([makeCertificates(), freshDatabase("console_tls")]);
  sluice = await startSluice({
    policy: POLICY,
    upstream: database.uri,
    flags: [
      ...["--admin-tls-cert", files.proxy.certificate, "--admin-tls-key", files.proxy.key],
      ...["--admin-tls-client-ca", files.client.certificate],
    ],
  });
});
afterAll(async () => {
  await sluice?.close();
  await database?.drop();
  await files?.remove();
});

/** As a browser that has this certificate, or none. */
function ask(path: string, who: "client" | "stranger" | undefined, sent: Sent = {}): Promise<Page> {
  const own = who && {
    cert: readFileSync(files[who].certificate),
    key: readFileSync(files[who].key),
  };
  const { method = "GET", headers = {}, body } = sent;
  return new Promise((resolve, reject) => {
    const url = sluice.adminUrl.replace("http:", "https:") + path;
    const ca = readFileSync(files.proxy.certificate);
    const asked = request(url, { method, headers, agent: false, ca, ...own }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
      );
    });
    asked.on("error", reject);
    asked.end(body);
  });
}

function logInForm(fields: Readonly<Record<string, string>>): Sent {
  return form({ adminUrl: sluice.adminUrl.replace("http:", "https:") }, fields);
}

test("an officer logs in with a certificate, in its name, and has to show it with each request", async () => {
  expect((await ask("/console", "client")).text).toContain("Log in as <bdi>anna</bdi>");
  const { status, headers } = await ask("/console/log-in", "client", logInForm({ with: "certificate" }));
  expect(status).toBe(303);
  expect(String(headers["set-cookie"])).toMatch(/; Secure$/);
  const cookie = String(headers["set-cookie"]).split(";")[0] ?? "";
  expect((await ask("/console", "client", { headers: { cookie } })).text).toContain("console (anna)");
  for (const thief of ["stranger", undefined] as const) {
    expect((await ask("/console", thief, { headers: { cookie } })).status).toBe(401);
  }
});

test("a certificate of another CA, or none, opens nothing; no token does either where there is none", async () => {
  for (const who of ["stranger", undefined] as const) {
    expect((await ask("/console", who)).text).toContain("no certificate of those who may log in");
    expect((await ask("/console/log-in", who, logInForm({ with: "certificate" }))).status).toBe(401);
    for (const token of ["", TOKEN]) {
      expect((await ask("/console/log-in", who, logInForm({ token }))).headers["set-cookie"]).toBeUndefined();
    }
  }
});

test("metrics and health need no certificate, but TLS", async () => {
  expect((await ask("/metrics", undefined)).text).toContain("sluice_");
  expect((await ask("/livez", undefined)).status).toBe(200);
  await expect(fetch(`${sluice.adminUrl}/livez`)).rejects.toThrow();
});

test("a new certificate of --admin is taken at a reload, and a bad one leaves the last", async () => {
  const shown = () =>
    new Promise<string>((resolve, reject) => {
      const { port, hostname: host } = new URL(sluice.adminUrl);
      const socket = connect({ host, port: Number(port), rejectUnauthorized: false }, () => {
        resolve(socket.getPeerX509Certificate()?.fingerprint256 ?? "");
        socket.destroy();
      });
      socket.on("error", reject);
    });
  const before = await shown();
  copyFileSync(files.stranger.certificate, files.proxy.certificate);
  await sluice.reload();
  expect(await shown()).toBe(before);
  expect(sluice.log.some(({ msg }) => msg.startsWith("the TLS files of --admin are not good"))).toBe(true);
  copyFileSync(files.stranger.key, files.proxy.key);
  await sluice.reload();
  expect(await shown()).not.toBe(before);
});

test("half of what TLS needs is refused at the start", async () => {
  const start = (...flags: readonly string[]) =>
    startSluice({ policy: POLICY, upstream: database.uri, flags });
  await expect(start("--admin-tls-cert", files.proxy.certificate)).rejects.toThrow(/give both or none/);
  await expect(start("--admin-tls-client-ca", files.client.certificate)).rejects.toThrow(
    /needs --admin-tls-cert/,
  );
});
