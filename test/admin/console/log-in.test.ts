import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { Attempts, ownerOf, Visits } from "../../../proxy/admin/console/log-in.ts";
import { safeTarget } from "../../../proxy/admin/console/routes.ts";
import { freshDatabase, type TestDatabase } from "../../harness/postgres.ts";
import { startSluice, type TestSluice } from "../../harness/sluice.ts";
import { ask, form, logIn, TOKEN } from "./browsing.ts";

const POLICY = "version: 1\nroles: { app: { users: [helpdesk_app], reads: all, writes: all, sees: all } }\n";

let database: TestDatabase;
let sluice: TestSluice;

beforeAll(async () => {
  database = await freshDatabase("console_log_in");
  sluice = await start();
});
afterAll(async () => {
  await sluice?.close();
  await database?.drop();
});

function start(): Promise<TestSluice> {
  const variables = { SLUICE_CONSOLE_TOKEN: TOKEN };
  const flags = ["--console-hosts", "sluice.internal"];
  return startSluice({ policy: POLICY, upstream: database.uri, variables, flags });
}

test("without a login there is nothing to see and nothing to do, but for health and metrics", async () => {
  for (const path of ["/console", "/console/readers", "/console/session?id=x", "/console/nonsense"]) {
    const { status, text } = await ask(sluice, path);
    expect(status, path).toBe(401);
    expect(text, path).toContain("Log in to the console");
    expect(text, path).not.toContain("helpdesk_app");
  }
  const order = form(sluice, { user: "helpdesk_app", why: "x", form_token: "x" });
  expect((await ask(sluice, "/console/suspend", order)).status).toBe(401);
  for (const path of ["/metrics", "/livez", "/healthz"])
    expect((await ask(sluice, path)).status, path).toBe(200);
});

test("the token opens it, and the cookie is for this site's requests alone", async () => {
  const { status, headers } = await ask(
    sluice,
    "/console/log-in",
    form(sluice, { token: TOKEN, to: "/console/alerts" }),
  );
  expect(status).toBe(303);
  expect(headers.location).toBe("/console/alerts");
  expect(String(headers["set-cookie"])).toMatch(
    /^sluice_console=[\w-]{43}; Path=\/console; HttpOnly; SameSite=Strict$/,
  );
  const tls = form(sluice, { token: TOKEN }, { "x-forwarded-proto": "https" });
  expect(String((await ask(sluice, "/console/log-in", tls)).headers["set-cookie"])).toMatch(/; Secure$/);
});

test("after a logout the cookie opens nothing", async () => {
  const officer = await logIn(sluice);
  expect(await officer.see("/console")).toContain("Overview");
  await officer.send("/console/log-out", {});
  expect((await ask(sluice, "/console", { headers: { cookie: officer.cookie } })).status).toBe(401);
});

test("guessing tokens is slowed down, and the right token does not help then", async () => {
  const own = await start();
  onTestFinished(() => own.close());
  const guess = (token: string) => ask(own, "/console/log-in", form(own, { token }));
  for (let i = 0; i < 5; i++) expect((await guess(`wrong ${i}`)).status).toBe(401);
  const { status, headers } = await guess(TOKEN);
  expect(status).toBe(429);
  expect(Number(headers["retry-after"])).toBeGreaterThan(0);
  expect(headers["set-cookie"]).toBeUndefined();
  expect(own.log.filter(({ msg }) => msg === "wrong token at the console")).toHaveLength(5);
  expect(JSON.stringify(own.log)).not.toContain(TOKEN);
});

test("a form of another site, or of another login, does nothing", async () => {
  const officer = await logIn(sluice);
  const other = await logIn(sluice);
  const { cookie } = officer;
  const fields = { user: "helpdesk_app", why: "x", form_token: officer.formToken };
  const tries: readonly (readonly [
    number,
    Readonly<Record<string, string>>,
    Readonly<Record<string, string>>,
  ])[] = [
    [403, fields, { cookie, origin: "https://evil.example" }],
    [403, fields, { cookie, origin: "null" }],
    [403, fields, { cookie, "sec-fetch-site": "cross-site" }],
    [403, { ...fields, form_token: other.formToken }, { cookie }],
    [403, { ...fields, form_token: "" }, { cookie }],
    [415, fields, { cookie, "content-type": "text/plain" }],
    [413, { ...fields, why: "x".repeat(300_000) }, { cookie }],
    [400, Object.fromEntries(Array.from({ length: 301 }, (_, i) => [`f${i}`, ""])), {}],
  ];
  for (const [status, sent, headers] of tries) {
    expect(
      (await ask(sluice, "/console/suspend", form(sluice, sent, headers))).status,
      JSON.stringify(headers),
    ).toBe(status);
  }
  // A form without Origin comes from no browser of today.
  const { headers: { origin: _, ...bare } = {}, ...rest } = form(sluice, fields, { cookie });
  expect((await ask(sluice, "/console/suspend", { ...rest, headers: bare })).status).toBe(403);
  expect((await ask(sluice, "/console/suspend", { headers: { cookie } })).status).toBe(404);
  expect(await officer.see("/console")).toContain("Nobody is suspended");
});

test("a name that somebody has pointed at our address is not ours", async () => {
  const as = async (host: string) => (await ask(sluice, "/console", { headers: { host } })).status;
  for (const host of [
    "evil.example",
    "evil.example:9432",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
  ]) {
    expect(await as(host), host).toBe(421);
  }
  for (const host of [
    "localhost:1",
    "10.1.2.3:9432",
    "[::1]:9432",
    "Sluice.internal",
    "sluice.internal:443",
  ]) {
    expect(await as(host), host).toBe(401);
  }
});

test("every answer keeps strange scripts, frames and caches away", async () => {
  const officer = await logIn(sluice);
  for (const path of ["/console", "/console/console.css", "/console/nonsense"]) {
    const { headers } = await ask(sluice, path, { headers: { cookie: officer.cookie } });
    expect(headers["content-security-policy"], path).toMatch(/^default-src 'none'; .*frame-ancestors 'none'/);
    expect(headers["content-security-policy"]).not.toContain("unsafe");
    expect(headers, path).toMatchObject({
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      "referrer-policy": "same-origin",
    });
  }
  const page = await officer.see("/console");
  expect(page).not.toMatch(/<script(?! src="\/console\/)|<style|\sstyle=|\son\w+=|https?:\/\//);
});

test("without a token the console is off, and says how it is turned on", async () => {
  const off = await startSluice({ policy: POLICY, upstream: database.uri });
  try {
    const { status, text } = await ask(off, "/console");
    expect(status).toBe(404);
    expect(text).toContain("--console-token-file");
    expect((await ask(off, "/")).status).toBe(303);
  } finally {
    await off.close();
  }
});

test("a short token is refused at the start, and not repeated", async () => {
  const variables = { SLUICE_CONSOLE_TOKEN: "short-secret" };
  const started = startSluice({ policy: POLICY, upstream: database.uri, variables });
  await expect(started).rejects.toThrow(/SLUICE_CONSOLE_TOKEN: each token needs 24 characters/);
  await expect(started).rejects.not.toThrow(/short-secret/);
});

test("a login ends after half an hour without use, watching or not, and after eight hours in any case", () => {
  let now = 0;
  const visits = new Visits(() => now);
  const minutes = (count: number) => {
    now += count * 60_000;
  };
  const idle = visits.begin({ by: "console", role: "officer" });
  minutes(29);
  expect(visits.find(idle, "watch")).toBeDefined();
  minutes(2);
  expect(visits.find(idle, "use")).toBeUndefined();
  const busy = visits.begin({ by: "console", role: "officer" });
  for (let i = 0; i < 23; i++) {
    minutes(20);
    expect(visits.find(busy, "use")).toBeDefined();
  }
  minutes(20);
  expect(visits.find(busy, "use")).toBeUndefined();
});

test("a host does not get around the limit by its many IPv6 addresses, nor does it lock out others", () => {
  let now = 0;
  const attempts = new Attempts(() => now);
  for (let i = 0; i < 5; i++) attempts.failed(`2001:db8:1:2::${i}`);
  expect(attempts.wait("2001:db8:1:2:ffff::9")).toBeGreaterThan(0);
  expect(attempts.wait("2001:db8:1:3::9")).toBe(0);
  expect(attempts.wait("127.0.0.1")).toBe(0);
  now = 60_001;
  expect(attempts.wait("2001:db8:1:2::1")).toBe(0);
});

test("of several tokens each names its owner", () => {
  const tokens = [
    { name: "olga", token: "a".repeat(24), role: "viewer" },
    { name: undefined, token: "b".repeat(24), role: "officer" },
  ] as const;
  expect(ownerOf("a".repeat(24), tokens)).toMatchObject({ by: "console (olga)", role: "viewer" });
  expect(ownerOf("b".repeat(24), tokens)).toMatchObject({ by: "console", role: "officer" });
  expect(ownerOf("a".repeat(23), tokens)).toBeUndefined();
  expect(ownerOf("", tokens)).toBeUndefined();
});

test("after the login one lands on a page of the console and nowhere else", () => {
  expect(safeTarget("/console/user?name=a%26b")).toBe("/console/user?name=a%26b");
  for (const to of [
    "//evil.example/console",
    "https://evil.example/console",
    "/\\evil.example",
    "/metrics",
    "/console/../metrics",
    "/consolex",
    "",
  ]) {
    expect(safeTarget(to), to).toBe("/console");
  }
});
