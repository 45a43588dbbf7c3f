import { request } from "node:http";
import { connect } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Admin, startAdmin } from "../../proxy/admin/http-server.ts";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import { createLog } from "../../proxy/log.ts";
import { createMetrics, type Metrics } from "../../proxy/metrics/metrics.ts";
import { runProgram } from "../harness/programs.ts";

const STATEMENT: StatementEvent = {
  kind: "statement",
  time: 0,
  session: "s",
  user: "anna",
  role: "agent",
  database: "support",
  client: "10.0.0.1",
  application: "psql",
  command: "SELECT",
  statement: "select $1",
  relations: ["public.customers"],
  masked: ["email"],
  lookups: 1,
  decision: "mask",
  policy: "abc",
  rows: 12,
  bytes: 340,
  subjects: [],
  people: 7,
  duration: 3,
};

let metrics: Metrics;
let admin: Admin;
let reasons: string[];

beforeEach(async () => {
  metrics = createMetrics({ version: "1.2.3", databases: ["support"] });
  reasons = [];
  admin = await startAdmin({
    listen: { host: "127.0.0.1", port: 0 },
    metrics,
    ready: () => ({ ok: reasons.length === 0, reasons }),
    log: createLog({ level: "silent" }),
  });
});
afterEach(() => admin.close());

function ask(path: string, method = "GET"): Promise<Response> {
  return fetch(`http://127.0.0.1:${admin.address.port}${path}`, { method });
}

test("an orchestrator learns whether the process lives and whether it may be sent clients", async () => {
  expect((await ask("/healthz")).status).toBe(200);
  expect((await ask("/livez")).status).toBe(200);
  expect((await ask("/readyz")).status).toBe(200);
  reasons.push("the counter store cannot be reached", "no policy is loaded");
  const response = await ask("/readyz");
  expect(response.status).toBe(503);
  expect(await response.text()).toBe("the counter store cannot be reached\nno policy is loaded\n");
  expect((await ask("/healthz")).status).toBe(200);
});

test("Prometheus reads what happened", async () => {
  metrics.sessionOpened("support");
  metrics.statement(STATEMENT);
  metrics.statement({ ...STATEMENT, decision: "refuse", sqlstate: "53400", rows: 0, people: 0, bytes: 0 });
  for (const seconds of [0.002, 0.003]) metrics.times("support").took(seconds);
  metrics.loginFailed("password");
  metrics.verdictCache(true);
  metrics.auditLost(3);
  const response = await ask("/metrics");
  expect(response.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
  const text = await response.text();
  expect(text.split("\n")).toEqual(
    expect.arrayContaining([
      'sluice_build_info{version="1.2.3"} 1',
      'sluice_client_connections{database="support"} 1',
      'sluice_statements_total{database="support",role="agent",command="SELECT",decision="mask"} 1',
      'sluice_denials_total{database="support",role="agent",sqlstate="53400",reason="budget"} 1',
      'sluice_rows_total{database="support",role="agent"} 12',
      'sluice_result_bytes_total{database="support",role="agent"} 340',
      'sluice_people_total{database="support",role="agent"} 7',
      'sluice_statement_duration_seconds_count{database="support"} 2',
      'sluice_login_failures_total{reason="password"} 1',
      'sluice_verdict_cache_requests_total{result="hit"} 1',
      "sluice_verification_failures_total 0",
      "sluice_audit_dropped_total 3",
    ]),
  );
  expect(text).toContain("nodejs_eventloop_lag");
  // Read twice, counted once.
  expect(await (await ask("/metrics")).text()).toContain(
    'sluice_rows_total{database="support",role="agent"} 12\n',
  );
});

test("a client cannot make labels of its own", async () => {
  metrics.sessionOpened("made up database");
  metrics.loginFailed("made up reason");
  metrics.statement({
    ...STATEMENT,
    database: "made up database",
    command: "made up command",
    decision: "cut",
    sqlstate: "made up",
  });
  const text = await (await ask("/metrics")).text();
  expect(text).not.toContain("made up");
  expect(text).toContain('{database="other",role="agent",command="OTHER",decision="cut"} 1');
});

test("the names follow Prometheus' rules", { timeout: 120_000 }, async () => {
  metrics.statement({ ...STATEMENT, decision: "refuse", sqlstate: "42501" });
  metrics.policyLoaded("abc");
  metrics.countersReady(true);
  metrics.catalogRefreshed(Date.now());
  const { text } = await metrics.exposition();
  const ours = text
    .split("\n")
    .filter((line) => /^(# (HELP|TYPE) )?sluice_/.test(line))
    .join("\n");
  const checked = await runProgram("promtool", ["check", "metrics"], { input: `${ours}\n` });
  expect(checked).toEqual({ code: 0, stdout: "", stderr: "" });
});

test("nothing else is served, and nothing can be sent", async () => {
  expect((await ask("/")).status).toBe(404);
  expect((await ask("/metrics/../../etc/passwd")).status).toBe(404);
  expect((await ask("/metrics", "POST")).status).toBe(405);
  expect((await ask("/metrics", "DELETE")).status).toBe(405);
  const head = await ask("/healthz", "HEAD");
  expect(head.status).toBe(200);
  expect(await head.text()).toBe("");
});

test("a fault inside shows no detail outside", async () => {
  const broken = await startAdmin({
    listen: { host: "127.0.0.1", port: 0 },
    metrics: { ...metrics, exposition: () => Promise.reject(new Error("inner detail")) },
    ready: () => {
      throw new Error("inner detail");
    },
    log: createLog({ level: "silent" }),
  });
  for (const path of ["/metrics", "/readyz"]) {
    const response = await fetch(`http://127.0.0.1:${broken.address.port}${path}`);
    expect(response.status).toBe(500);
    expect(await response.text()).toBe("internal error\n");
  }
  await broken.close();
});

test("huge headers and garbage are turned away, and the next request is served", async () => {
  const status = await new Promise((resolve, reject) => {
    const sent = request(
      { port: admin.address.port, path: "/healthz", headers: { "x-long": "x".repeat(20_000) } },
      (response) => resolve(response.statusCode),
    );
    sent.on("error", reject);
    sent.end();
  });
  expect(status).toBe(431);
  const reply = await new Promise<string>((resolve) => {
    const socket = connect(admin.address.port, "127.0.0.1", () =>
      socket.write("\0\0\0\b\x04\xd2\x16/\r\n\r\n"),
    );
    let text = "";
    socket.on("data", (data) => {
      text += data;
    });
    socket.on("close", () => resolve(text));
  });
  expect(reply).toMatch(/^HTTP\/1\.1 400/);
  expect((await ask("/healthz")).status).toBe(200);
});

test("an address that is taken is told at the start", async () => {
  await expect(
    startAdmin({
      listen: { host: "127.0.0.1", port: admin.address.port },
      metrics,
      ready: () => ({ ok: true, reasons: [] }),
      log: createLog({ level: "silent" }),
    }),
  ).rejects.toThrow(/EADDRINUSE/);
});
