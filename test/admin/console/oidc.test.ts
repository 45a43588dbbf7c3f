import { createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { Oidc } from "../../../proxy/admin/console/oidc.ts";
import { freePort } from "../../../proxy/embedded/postgres.ts";
import { createLog } from "../../../proxy/log.ts";
import { SILENT } from "../../audit/support.ts";
import { openBrowser } from "../../harness/browser.ts";
import { type OidcProvider, startOidc } from "../../harness/oidc.ts";
import { freshDatabase, type TestDatabase } from "../../harness/postgres.ts";
import { startSluice, type TestSluice } from "../../harness/sluice.ts";
import { ask, type Page } from "./browsing.ts";

const POLICY = "version: 1\nroles: { app: { users: [helpdesk_app], reads: all, writes: all, sees: all } }\n";
const ACCOUNTS = {
  "u-1": { groups: ["staff", "security"], name: "olga" },
  "u-2": { groups: ["leads", "dbas"], name: "dora<script>" },
  "u-3": { groups: ["staff"], name: "sam" },
};

let database: TestDatabase;
let provider: OidcProvider;
let sluice: TestSluice;
/** The provider knows where the console will be reached before it is there. */
let consolePort = 0;

beforeAll(async () => {
  database = await freshDatabase("console_oidc");
  consolePort = await freePort();
  const consoleUrl = `http://127.0.0.1:${consolePort}`;
  provider = await startOidc(`${consoleUrl}/console/oidc`, ACCOUNTS);
  sluice = await startSluice({
    ...{ policy: POLICY, upstream: database.uri },
    flags: [
      ...["--admin", `127.0.0.1:${consolePort}`, "--console-url", consoleUrl],
      ...["--console-oidc", provider.issuer, "--console-oidc-client", provider.client],
      ...["--console-oidc-roles", "security=officer,dbas=dba,leads=viewer"],
    ],
    variables: { SLUICE_CONSOLE_OIDC_SECRET: provider.secret },
  });
});
afterAll(async () => {
  await sluice?.close();
  await provider?.stop();
  await database?.drop();
});

/** A browser's jar and its way over redirects, by hand: what it sends can be tampered with. */
class Hand {
  readonly jar = new Map<string, string>();

  async go(url: string, body?: URLSearchParams): Promise<Page> {
    const { origin, pathname, search } = new URL(url);
    const cookie = [...this.jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const answer = await ask({ adminUrl: origin }, `${pathname}${search}`, {
      ...(body !== undefined && { method: "POST", body: body.toString() }),
      headers: {
        cookie,
        ...(body !== undefined && { "content-type": "application/x-www-form-urlencoded" }),
      },
    });
    for (const set of [answer.headers["set-cookie"] ?? []].flat()) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(set) ?? [];
      if (value === "" || /Max-Age=0/i.test(set)) this.jar.delete(name);
      else this.jar.set(name, value);
    }
    return answer;
  }

  /** Logs in at the provider as this account; gives the address that it sends the browser back to. */
  async back(account: string, to = "/console/alerts"): Promise<string> {
    let url = `${sluice.adminUrl}/console/oidc/start?${new URLSearchParams({ to })}`;
    let page = await this.go(url);
    for (let i = 0; i < 20; i++) {
      const { location } = page.headers;
      if (typeof location === "string") {
        url = new URL(location, url).href;
        if (url.startsWith(`${sluice.adminUrl}/console/oidc?`)) return url;
        page = await this.go(url);
        continue;
      }
      const [, action = ""] = /<form[^>]*action="([^"]+)"/.exec(page.text) ?? [];
      const [, prompt = ""] = /name="prompt" value="([^"]+)"/.exec(page.text) ?? [];
      url = new URL(action, url).href;
      page = await this.go(url, new URLSearchParams({ prompt, login: account, password: "any" }));
    }
    throw new Error(`the provider leads nowhere: ${page.status} ${page.text}`);
  }
}

test("an account of the provider logs in with the role of its groups, under its subject, on the page that was asked for", async () => {
  for (const [account, role, by] of [
    ["u-1", "officer", "console (olga, oidc u-1)"],
    ["u-2", "dba", "console (dorascript, oidc u-2)"],
  ] as const) {
    const hand = new Hand();
    const page = await hand.go(await hand.back(account));
    expect(page.status).toBe(200);
    expect(page.text).toContain('content="0; url=/console/alerts"');
    expect([page.headers["set-cookie"]].flat().join()).toMatch(
      /sluice_console=[\w-]{43}; Path=\/console; HttpOnly; SameSite=Strict/,
    );
    const alerts = await hand.go(`${sluice.adminUrl}/console/alerts`);
    expect(alerts.text).toContain(`<strong>${by}</strong>`);
    expect(sluice.log).toContainEqual(expect.objectContaining({ msg: "log-in at the console", by, role }));
  }
});

test("an account without a role does not get in", async () => {
  const hand = new Hand();
  const page = await hand.go(await hand.back("u-3"));
  expect(page.status).toBe(403);
  expect(page.text).toContain("Your account has no role in this console");
  expect((await hand.go(`${sluice.adminUrl}/console`)).status).toBe(401);
});

test("whoever comes back with another's code, another state, twice, or without the cookie of this browser does not get in", async () => {
  const [hand, other] = [new Hand(), new Hand()];
  const back = await hand.back("u-1");
  // A log-in that somebody else began must not become this browser's (login CSRF).
  expect((await other.go(back)).status).toBe(401);
  await other.go(`${sluice.adminUrl}/console/oidc/start`);
  expect((await other.go(back)).status).toBe(401);
  const tampered = new Hand();
  const forged = new URL(await tampered.back("u-1"));
  forged.searchParams.set("state", "another");
  expect((await tampered.go(forged.href)).status).toBe(401);
  const sealed = new Hand();
  const url = await sealed.back("u-1");
  const journey = sealed.jar.get("sluice_console_oidc") ?? "";
  sealed.jar.set("sluice_console_oidc", `${journey.slice(0, -4)}AAAA`);
  expect((await sealed.go(url)).status).toBe(401);
  expect((await hand.go(back)).status).toBe(200);
  // The code is spent, and the cookie is gone with it.
  expect((await hand.go(back)).status).toBe(401);
  for (const one of [other, tampered, sealed])
    expect((await one.go(`${sluice.adminUrl}/console`)).status).toBe(401);
});

test("after the log-in one lands on a page of the console and nowhere else", async () => {
  for (const to of ["https://evil.example/", "//evil.example", "/metrics"]) {
    const hand = new Hand();
    expect((await hand.go(await hand.back("u-1", to))).text, to).toContain('content="0; url=/console"');
  }
});

test("while the provider is away nobody gets in by it, the page says so, and tokens still work", async () => {
  const away = await startSluice({
    ...{ policy: POLICY, upstream: database.uri },
    flags: [
      ...[
        "--console-url",
        "http://127.0.0.1:9",
        "--console-oidc",
        "http://127.0.0.1:9",
        "--console-oidc-client",
        "x",
      ],
      ...["--console-oidc-roles", "security=officer"],
    ],
    variables: { SLUICE_CONSOLE_TOKEN: "t".repeat(24) },
  });
  onTestFinished(() => away.close());
  const page = await ask(away, "/console/oidc/start");
  expect(page.status).toBe(503);
  expect(page.text).toContain("The identity provider cannot be reached");
  expect(page.text).toContain("Console token");
  expect((await ask(away, "/console/oidc?code=x&state=y")).status).toBe(401);
});

test("a log-in that was begun more than ten minutes ago is none", async () => {
  let now = 0;
  const oidc = new Oidc({
    ...{ issuer: provider.issuer, client: provider.client, secret: provider.secret, claim: "groups" },
    ...{ roles: new Map(), consoleUrl: sluice.adminUrl, log: SILENT, now: () => now },
  });
  const departure = await oidc.depart("/console");
  const state = new URL(departure?.location ?? "").searchParams.get("state") ?? "";
  now = 601_000;
  const arrival = await oidc.arrive(new URLSearchParams({ code: "x", state }), departure?.cookie);
  expect(arrival).toMatchObject({ ok: false, status: 401, problem: expect.stringContaining("too long ago") });
});

interface Forger {
  readonly oidc: Oidc;
  readonly lines: readonly string[];
  /** Begins a log-in, and comes back with a token that this makes of the honest claims. */
  arrive(
    token: (claims: Readonly<Record<string, unknown>>, keys: typeof FORGER_KEYS) => string | undefined,
    back?: (query: URLSearchParams) => void,
  ): Promise<Awaited<ReturnType<Oidc["arrive"]>>>;
  readonly server: Server;
}

const pair = () => generateKeyPairSync("rsa", { modulusLength: 2048 });
const FORGER_KEYS = { own: pair(), other: pair() };

function jwt(
  header: Readonly<Record<string, unknown>>,
  claims: Readonly<Record<string, unknown>>,
  signature: (text: string) => Buffer,
) {
  const text = [header, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
    .join(".");
  return `${text}.${signature(text).toString("base64url")}`;
}

const signedBy = (key: KeyObject) => (text: string) => sign("sha256", Buffer.from(text), key);
const OWN = { alg: "RS256", kid: "one", typ: "JWT" };

/** A provider that answers with whatever token a test makes, and claims to sign in every way. */
async function startForger(): Promise<Forger> {
  let answer: () => string | undefined = () => undefined;
  const server = createServer((request, response) => {
    const { port } = server.address() as AddressInfo;
    const issuer = `http://127.0.0.1:${port}`;
    const path = request.url?.split("?")[0];
    const body =
      path === "/jwks"
        ? { keys: [{ ...FORGER_KEYS.own.publicKey.export({ format: "jwk" }), use: "sig", kid: "one" }] }
        : path === "/token"
          ? { access_token: "x", token_type: "Bearer", id_token: answer() }
          : {
              ...{ issuer, jwks_uri: `${issuer}/jwks`, token_endpoint: `${issuer}/token` },
              authorization_endpoint: `${issuer}/authorize`,
              id_token_signing_alg_values_supported: ["none", "HS256", "RS256"],
            };
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(body));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const lines: string[] = [];
  const oidc = new Oidc({
    ...{ issuer, client: "console", secret: "a secret of the console's own", claim: "groups" },
    ...{ roles: new Map([["security", "officer"]]), consoleUrl: "http://127.0.0.1:9", now: Date.now },
    log: createLog({ level: "info", to: { write: (line: string) => void lines.push(line) } }),
  });
  return {
    ...{ oidc, lines, server },
    async arrive(token, back) {
      const departure = await oidc.depart("/console");
      const sent = new URL(departure?.location ?? "").searchParams;
      const iat = Math.floor(Date.now() / 1000);
      const claims = {
        ...{ iss: issuer, aud: "console", sub: "u-1", nonce: sent.get("nonce"), iat, exp: iat + 300 },
        groups: ["security"],
      };
      answer = () => token(claims, FORGER_KEYS);
      const query = new URLSearchParams({ code: "a code", state: sent.get("state") ?? "" });
      back?.(query);
      return oidc.arrive(query, departure?.cookie);
    },
  };
}

test("a forged, foreign, stale or unsigned ID token logs in nobody, and the log says why", async () => {
  const { arrive, lines } = await startForger();
  const honest = (
    claims: Readonly<Record<string, unknown>>,
    header: Readonly<Record<string, unknown>> = OWN,
  ) => jwt(header, claims, signedBy(FORGER_KEYS.own.privateKey));
  expect(await arrive((claims) => honest(claims))).toMatchObject({
    ok: true,
    owner: { by: "console (oidc u-1)", role: "officer" },
  });
  const past = Math.floor(Date.now() / 1000) - 3_600;
  const publicPem = FORGER_KEYS.own.publicKey.export({ format: "pem", type: "spki" });
  const hmac = (key: string | Buffer) => (text: string) => createHmac("sha256", key).update(text).digest();
  const forged: Readonly<Record<string, (claims: Readonly<Record<string, unknown>>) => string | undefined>> =
    {
      "no signature": (claims) => jwt({ alg: "none" }, claims, () => Buffer.alloc(0)),
      "no signature, by another spelling": (claims) => jwt({ alg: "nOnE" }, claims, () => Buffer.alloc(0)),
      "HS256 with the public key": (claims) => jwt({ ...OWN, alg: "HS256" }, claims, hmac(publicPem)),
      "HS256 with the client's secret": (claims) =>
        jwt({ alg: "HS256" }, claims, hmac("a secret of the console's own")),
      "another key under the known id": (claims) => jwt(OWN, claims, signedBy(FORGER_KEYS.other.privateKey)),
      "an unknown key": (claims) =>
        jwt({ ...OWN, kid: "two" }, claims, signedBy(FORGER_KEYS.other.privateKey)),
      "a key of its own": (claims) =>
        jwt(
          { alg: "RS256", jwk: FORGER_KEYS.other.publicKey.export({ format: "jwk" }) },
          claims,
          signedBy(FORGER_KEYS.other.privateKey),
        ),
      "claims changed after signing": (claims) => {
        const [head, , signature] = honest({ ...claims, groups: [] }).split(".");
        return `${head}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.${signature}`;
      },
      "another issuer": (claims) => honest({ ...claims, iss: "http://127.0.0.1:1" }),
      "another audience": (claims) => honest({ ...claims, aud: "wiki" }),
      "several audiences": (claims) => honest({ ...claims, aud: ["console", "wiki"], azp: "wiki" }),
      "another nonce": (claims) => honest({ ...claims, nonce: "another" }),
      "no nonce": ({ nonce: _, ...claims }) => honest(claims),
      expired: (claims) => honest({ ...claims, iat: past, exp: past + 60 }),
      "no expiry": ({ exp: _, ...claims }) => honest(claims),
      "not valid yet": (claims) => honest({ ...claims, nbf: past + 7_200 }),
      "no subject": ({ sub: _, ...claims }) => honest(claims),
      "an empty subject": (claims) => honest({ ...claims, sub: "" }),
      "a subject that is no text": (claims) => honest({ ...claims, sub: ["u-1"] }),
      "a critical header": (claims) => honest(claims, { ...OWN, crit: ["b64"], b64: false }),
      "no token": () => undefined,
      "no JSON": () => "a.b.c",
    };
  for (const [what, token] of Object.entries(forged)) {
    const before = lines.length;
    expect(await arrive(token), what).toMatchObject({
      ...{ ok: false, status: 401, problem: expect.stringContaining("did not confirm this log-in") },
    });
    expect(lines.slice(before).join(), what).toMatch(/"problem":"[A-Z_]+"/);
  }
  const ways: Readonly<Record<string, (query: URLSearchParams) => void>> = {
    "another state": (query) => query.set("state", "another"),
    "no state": (query) => query.delete("state"),
    "two states": (query) => query.append("state", "another"),
    "no code": (query) => query.delete("code"),
    "another issuer's answer": (query) => query.set("iss", "http://127.0.0.1:1"),
    "the provider's refusal": (query) => query.set("error", "access_denied"),
  };
  for (const [what, back] of Object.entries(ways))
    expect(await arrive((claims) => honest(claims), back), what).toMatchObject({ ok: false, status: 401 });
  expect(lines.join()).not.toMatch(/eyJ|a secret of the console/);
});

test("a claim of roles that is missing, or is junk, is no role; names of subjects do not merge", async () => {
  const { arrive } = await startForger();
  const as = (more: Readonly<Record<string, unknown>>) =>
    arrive((claims) => jwt(OWN, { ...claims, ...more }, signedBy(FORGER_KEYS.own.privateKey)));
  const deep = Array.from({ length: 1_000 }).reduce<unknown>((inner) => [inner], "security");
  for (const groups of [
    ...[undefined, null, 7, true, "", {}, [], [7, null, {}], [["security"]], deep, { security: true }],
    ...["Security", " security", "security\0", "security,dbas", ["__proto__", "constructor", "toString"]],
    ...[{ 0: "security", length: 1 }, Array.from({ length: 10_000 }, (_, i) => `g${i}`)],
  ])
    expect(await as({ groups }), JSON.stringify(groups)?.slice(0, 60)).toMatchObject({
      ok: false,
      status: 403,
    });
  for (const groups of ["security", [7, "junk", "security"]])
    expect(await as({ groups })).toMatchObject({ ok: true, owner: { role: "officer" } });
  const names = new Set<unknown>();
  for (const sub of ["auth0|1", "auth01", "a<b", "ab", "a\u202eb", "x".repeat(101), "x".repeat(100)]) {
    const arrival = await as({ sub });
    names.add(arrival.ok && arrival.owner.by);
  }
  expect(names).toContain("console (oidc auth0|1)");
  expect([...names].filter((one) => typeof one === "string")).toHaveLength(7);
});

test("a provider that dies between the log-in and its token is told as away", async () => {
  const { arrive, server, lines } = await startForger();
  const arrival = await arrive(
    () => undefined,
    () => {
      server.closeAllConnections();
      server.close();
    },
  );
  expect(arrival).toMatchObject({
    ok: false,
    status: 503,
    problem: expect.stringContaining("cannot be reached"),
  });
  expect(lines.join()).toMatch(/"cause":"(ECONNREFUSED|ECONNRESET|UND_ERR_SOCKET)"/);
});

test("half a configuration is refused at the start", async () => {
  const start = (...flags: string[]) => startSluice({ policy: POLICY, upstream: database.uri, flags });
  await expect(start("--console-oidc", "https://login.example.com")).rejects.toThrow(
    /--console-oidc-roles: missing/,
  );
  await expect(start("--console-oidc", "http://login.example.com")).rejects.toThrow(
    /"http:\/\/login.example.com" is not an issuer/,
  );
  await expect(start("--console-oidc-client", "x")).rejects.toThrow(/need --console-oidc/);
  await expect(start("--console-oidc-roles", "security=admin")).rejects.toThrow(
    /a list of values of the claim/,
  );
});

test("in a browser the way leads over the provider's page back to the console", async ({ skip }) => {
  const browser: Browser | undefined = await openBrowser().catch(() => undefined);
  if (browser === undefined) return skip("no Chromium here");
  onTestFinished(() => browser.close());
  const page = await browser.newPage();
  await page.goto(`${sluice.adminUrl}/console/policy`);
  await page.getByRole("link", { name: "Log in with your organization" }).click();
  await page.locator("[name=login]").fill("u-1");
  await page.locator("[name=password]").fill("any");
  await page.locator("button[type=submit]").click();
  await page.locator("button[type=submit]").click();
  await page.getByRole("heading", { name: "Policy in force" }).waitFor();
  await page.getByText("console (olga, oidc u-1)").waitFor();
});
