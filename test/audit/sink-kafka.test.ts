import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import { openAudit } from "../../proxy/app/compose-audit.ts";
import { kafkaSink, type SaslMechanism } from "../../proxy/audit/sink-kafka.ts";
import { SinkBuffer } from "../../proxy/audit/sinks.ts";
import { createLog } from "../../proxy/log.ts";
import { createMetrics } from "../../proxy/metrics/metrics.ts";
import { readSettings } from "../../proxy/settings/settings.ts";
import { makeCertificates } from "../harness/certificates.ts";
import { type KafkaCluster, startKafka } from "../harness/kafka.ts";
import { type KafkaDoor, openKafkaDoor } from "../harness/kafka-door.ts";
import { login, makeFolder, openLog, reading, SILENT } from "./support.ts";

const TOPIC = "sluice-audit";

const found = await startKafka(TOPIC).catch((error: Error) => {
  console.log(`Not tried: kafka: ${error.message.split("\n")[0]}`);
  return undefined;
});
afterAll(() => found?.stop());

async function linesOfLog(): Promise<readonly string[]> {
  const lines: string[] = [];
  const { log } = await openLog(await makeFolder(), { onDurable: (some) => lines.push(...some) });
  log.write(login("s1", { application: '","metadata":{"log_name":"forged","x":"' }));
  log.write(reading({ statement: `SELECT '${"é".repeat(5_000)}'` }));
  log.write(reading({ decision: "refuse", sqlstate: "42501" }));
  await log.close();
  return lines;
}

function buffered(broker: string, patience = 5_000) {
  const told = { dropped: 0, refused: 0 };
  const sink = kafkaSink({
    ...{ brokers: [broker], topic: TOPIC, tls: false, patience },
    onRefused: (lines) => {
      told.refused += lines;
    },
  });
  const buffer = new SinkBuffer(sink, {
    ...{ log: SILENT, retryAfter: 20 },
    onDropped: (_, lines) => {
      told.dropped += lines;
    },
  });
  onTestFinished(() => buffer.close());
  return Object.assign(told, { sink, buffer });
}

describe.skipIf(found === undefined)("Kafka, with librdkafka's brokers and consumer:", () => {
  const cluster = found as KafkaCluster;

  test("each line is one message, whole, in order, its key the writer and no name that a client made up", async () => {
    const lines = await linesOfLog();
    const { buffer } = buffered(cluster.broker);
    buffer.offer(lines);
    const values = lines.map((line) => line.trimEnd());
    await expect
      .poll(() => cluster.consumed().map(({ value }) => value), { timeout: 20_000 })
      .toEqual(values);
    const got = cluster.consumed();
    const writer = (JSON.parse(values[0] ?? "") as { metadata: { log_name: string } }).metadata.log_name;
    expect(new Set(got.map(({ key }) => key))).toEqual(new Set([writer]));
    expect(new Set(got.map(({ partition }) => partition)).size).toBe(1);
    expect(got.map(({ headers }) => headers)).toEqual([
      "kind=segment opened,severity=1",
      "kind=login,severity=1",
      "kind=statement,severity=1",
      "kind=statement,severity=3",
      "kind=segment closed,severity=1",
    ]);
    expect(Number(got[1]?.time)).toBe(Date.UTC(2026, 4, 6, 12));
  });

  test("brokers that do not answer get what waited once they do; nothing is missing, in its order", async () => {
    const before = cluster.consumed().length;
    const lines = Array.from({ length: 20 }, (_, i) => `{"time":${i},"metadata":{"log_name":"w"}}\n`);
    const { buffer } = buffered(cluster.broker, 300);
    buffer.offer(lines.slice(0, 5));
    await expect.poll(() => cluster.consumed().length, { timeout: 20_000 }).toBe(before + 5);
    cluster.pause();
    buffer.offer(lines.slice(5));
    await expect(buffered(cluster.broker, 300).sink.write(["{}\n"])).rejects.toThrow();
    cluster.goOn();
    const distinct = () => [
      ...new Set(
        cluster
          .consumed()
          .slice(before)
          .map(({ value }) => value),
      ),
    ];
    await expect
      .poll(distinct, { timeout: 20_000 })
      .toEqual(expect.arrayContaining(lines.map((line) => line.trimEnd())));
    expect(distinct().filter((value) => value.includes("time"))).toEqual(lines.map((line) => line.trimEnd()));
  });

  test("more than a broker takes at once goes in parts", async () => {
    const before = cluster.consumed().length;
    const long = "x".repeat(130_000);
    const lines = Array.from(
      { length: 30 },
      (_, i) => `{"time":${i},"long":"${long}","metadata":{"log_name":"v"}}\n`,
    );
    const { buffer } = buffered(cluster.broker);
    buffer.offer(lines);
    // After a broker that was slow a line may come twice.
    const times = () => [
      ...new Set(
        cluster
          .consumed()
          .slice(before)
          .filter(({ key }) => key === "v")
          .map(({ value }) => Number(/\d+/.exec(value)?.[0])),
      ),
    ];
    await expect.poll(() => times().length, { timeout: 20_000 }).toBe(30);
    expect(times()).toEqual(lines.map((_, i) => i));
  });

  const LOGIN = { username: "sluice", password: "p\u00e4ss,w=rd never-in-a-log" };

  /** TLS and SASL before the broker; certificates of its own. */
  async function behindDoor(
    key = "proxy",
    tls: Partial<{ key: string; cert: string }> = {},
    mechanisms: readonly string[] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"],
  ) {
    const made = await makeCertificates();
    onTestFinished(() => made.remove());
    const files = key === "stranger" ? made.stranger : made.proxy;
    const [cert, own] = [readFileSync(files.certificate, "utf8"), readFileSync(files.key, "utf8")];
    const door: KafkaDoor = await openKafkaDoor({
      ...{ tls: { cert, key: own, ...tls }, broker: cluster.broker },
      ...{ user: LOGIN.username, password: LOGIN.password },
      mechanisms,
    });
    onTestFinished(() => door.stop());
    return { door, ca: tls.cert ?? cert };
  }

  test.each(["plain", "scram-sha-256", "scram-sha-512"] as const)(
    "over TLS with a login by %s each line arrives",
    async (mechanism) => {
      const { door, ca } = await behindDoor();
      const sink = kafkaSink({
        ...{ brokers: [door.broker], topic: TOPIC, tls: true, ca, login: { mechanism, ...LOGIN } },
        onRefused: () => {},
      });
      onTestFinished(() => sink.close());
      const line = `{"time":1,"by":"${mechanism}","metadata":{"log_name":"tls"}}\n`;
      await sink.write([line]);
      await expect
        .poll(() => cluster.consumed().some(({ value }) => value === line.trimEnd()), { timeout: 20_000 })
        .toBe(true);
      // The first connection, and that to the partition's leader.
      expect(new Set(door.logins)).toEqual(new Set([`sluice ${mechanism.toUpperCase()}`]));
      if (mechanism !== "plain") return;
      // Another client is let in at the same door by the same login, and by no other.
      const authority = `${await makeFolder()}/ca.pem`;
      writeFileSync(authority, ca);
      const asked = (password: string) =>
        cluster.metadata(door.broker, [
          ...["security.protocol=SASL_SSL", `ssl.ca.location=${authority}`, `sasl.password=${password}`],
          ...[`sasl.mechanisms=${mechanism.toUpperCase()}`, `sasl.username=${LOGIN.username}`],
        ]);
      expect(await asked(LOGIN.password)).toContain(TOPIC);
      await expect(asked("wrong")).rejects.toThrow();
    },
  );

  test("a wrong password, user, mechanism, authority or name and an expired certificate are told, each by its name and once, and no secret is", async () => {
    const { door, ca } = await behindDoor();
    const expired = await expiredCertificate();
    const stale = await behindDoor("proxy", expired);
    const foreign = await behindDoor("stranger");
    const plainOnly = await behindDoor("proxy", {}, ["PLAIN"]);
    type Case = readonly [
      string,
      Parameters<typeof kafkaSink>[0]["brokers"][0],
      string | undefined,
      object,
      RegExp,
    ];
    const cases: readonly Case[] = [
      [
        "password",
        door.broker,
        ca,
        { password: "wrong-and-never-in-a-log" },
        /refuse the login of --kafka-login-file \(scram-sha-512\)/,
      ],
      ["user", door.broker, ca, { username: "nobody" }, /refuse the login of --kafka-login-file/],
      [
        "plain password",
        door.broker,
        ca,
        { mechanism: "plain", password: "wrong-and-never-in-a-log" },
        /refuse the login of --kafka-login-file \(plain\)/,
      ],
      ["mechanism", plainOnly.door.broker, plainOnly.ca, {}, /do not take a login by scram-sha-512/],
      ["authority", door.broker, foreign.ca, {}, /not signed by a known authority or --kafka-ca \(/],
      [
        "well-known authorities",
        door.broker,
        undefined,
        {},
        /not signed by a known authority or --kafka-ca \(/,
      ],
      ["name", foreign.door.broker, foreign.ca, {}, /is for another name/],
      ["expired", stale.door.broker, expired.cert, {}, /certificate has expired/],
    ];
    for (const [what, broker, authority, wrong, problem] of cases) {
      const lines: string[] = [];
      const told = { failed: 0 };
      const sink = kafkaSink({
        ...{ brokers: [broker], topic: TOPIC, tls: true, patience: 3_000, onRefused: () => {} },
        ...(authority !== undefined && { ca: authority }),
        login: { mechanism: "scram-sha-512" as SaslMechanism, ...LOGIN, ...wrong },
      });
      const buffer = new SinkBuffer(sink, {
        log: createLog({ level: "debug", to: { write: (line: string) => void lines.push(line) } }),
        ...{ retryAfter: 10, onDropped: () => {} },
        onFailed: () => {
          told.failed += 1;
        },
      });
      buffer.offer(['{"time":1,"metadata":{"log_name":"never"}}\n']);
      await expect.poll(() => told.failed, { timeout: 20_000 }).toBeGreaterThanOrEqual(2);
      await buffer.close();
      expect(lines.join(""), what).toMatch(problem);
      expect(lines, what).toHaveLength(1);
      expect(lines.join(""), what).not.toContain("never-in-a-log");
    }
    expect(cluster.consumed().some(({ value }) => value.includes('"never"'))).toBe(false);
  }, 120_000);

  test("serve sends its log there, as the settings say", async () => {
    const before = cluster.consumed().length;
    const read = readSettings(
      [
        ...[
          "--config",
          "/dev/null",
          "--upstream",
          "postgresql://u@localhost/d",
          "--audit",
          await makeFolder(),
        ],
        ...["--audit-sink", "kafka", "--kafka", `kafka://${cluster.broker}/${TOPIC}`],
      ],
      {},
    );
    if (!read.ok) throw new Error(read.problems.join());
    const metrics = createMetrics({ version: "test", databases: [] });
    const audit = await openAudit(read.settings, Buffer.alloc(32, 3), { metrics, log: SILENT });
    audit.write(login("s-kafka"));
    await audit.flush();
    await expect
      .poll(
        () =>
          cluster
            .consumed()
            .slice(before)
            .some(({ value }) => value.includes("s-kafka")),
        { timeout: 20_000 },
      )
      .toBe(true);
    await audit.close();
  });
});

test("a broker that takes connections and says nothing is left after a while, and what waits has its bound", async () => {
  const silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void silent.close());
  const address = silent.address();
  const port = typeof address === "object" ? address?.port : 0;
  const { sink } = buffered(`127.0.0.1:${port}`, 100);
  await expect(sink.write(["{}\n"])).rejects.toThrow();
});

test("brokers and topic are checked at the start", () => {
  const read = (...flags: string[]) => {
    const result = readSettings(
      ["--config", "/dev/null", "--upstream", "postgresql://u@localhost/d", ...flags],
      {},
    );
    return result.ok ? result.settings.kafka : result.problems.join();
  };
  expect(read("--audit-sink", "kafka", "--kafka", "kafka+tls://a:9093,b:9093/t")).toEqual({
    ...{ brokers: ["a:9093", "b:9093"], topic: "t", tls: true },
  });
  expect(read("--audit-sink", "kafka")).toMatch(/--audit-sink kafka and --kafka: give both or none/);
  for (const wrong of [
    "kafka://a/t",
    "kafka://a:9092",
    "kafka://a:9092/",
    "http://a:9092/t",
    "kafka://a:9092/t t",
  ])
    expect(read("--kafka", wrong), wrong).toMatch(/brokers and a topic/);
  const ca = ["--kafka-ca", "/dev/null"];
  expect(read("--audit-sink", "kafka", "--kafka", "kafka://a:9092/t", ...ca)).toMatch(/--kafka-ca: needs/);
  const plain = ["--audit-sink", "kafka", "--kafka-sasl", "plain", "--kafka"];
  expect(read(...plain, "kafka://a:9092/t")).toMatch(
    /--kafka-sasl plain: needs a --kafka that begins with kafka\+tls/,
  );
  expect(read(...plain, "kafka+tls://a:9092/t")).toMatch(/--kafka-sasl: needs --kafka-login-file/);
  expect(read("--kafka-sasl", "gssapi")).toMatch(/--kafka-sasl/);
});

/** For 127.0.0.1, and of the day before yesterday. */
async function expiredCertificate(): Promise<{ readonly cert: string; readonly key: string }> {
  const folder = await makeFolder();
  const [cert, key] = [`${folder}/expired.pem`, `${folder}/expired.key`];
  const openssl = (...args: string[]) => execFileSync("openssl", args, { stdio: "ignore" });
  openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", key);
  await writeFile(`${folder}/index`, "");
  await writeFile(
    `${folder}/config`,
    [
      ...["[ca]", "default_ca = own", "[own]", `database = ${folder}/index`, `new_certs_dir = ${folder}`],
      ...["rand_serial = yes", "default_md = sha256", "policy = any", "x509_extensions = names"],
      ...["[any]", "commonName = supplied", "[names]", "subjectAltName = DNS:localhost,IP:127.0.0.1"],
      ...["[req]", "distinguished_name = any"],
    ].join("\n"),
  );
  const config = ["-config", `${folder}/config`];
  openssl("req", "-new", "-key", key, "-out", `${folder}/request`, "-subj", "/CN=localhost", ...config);
  openssl(
    ...["ca", "-batch", "-selfsign", "-notext", ...config, "-keyfile", key, "-in", `${folder}/request`],
    ...["-out", cert, "-startdate", "20260101000000Z", "-enddate", "20260102000000Z"],
  );
  return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
}
