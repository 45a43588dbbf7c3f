import { execFile } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findLibrary, type Library } from "../harness/debian.ts";
import { PASSWORDS } from "../harness/postgres.ts";
import { type Helpdesk, openHelpdesk } from "./helpdesk.ts";

const run = promisify(execFile);
/** Debian's, for which its packages are made. */
const PYTHON = "/usr/bin/python3";

/** The library, or why this machine cannot try it: said once, plainly. */
async function library(name: Parameters<typeof findLibrary>[0], program: readonly string[]) {
  try {
    const [command = "", ...args] = program;
    await run(command, args);
    return await findLibrary(name);
  } catch (error) {
    console.log(`Not tried: ${name}: ${error instanceof Error ? error.message.split("\n")[0] : error}`);
    return undefined;
  }
}

const psycopg2 = await library("psycopg2", [PYTHON, "--version"]);
const psycopg = await library("psycopg", [PYTHON, "--version"]);
const jdbc = await library("jdbc", ["java", "--version"]);

let helpdesk: Helpdesk;
beforeAll(async () => {
  helpdesk = await openHelpdesk("clients languages");
});
afterAll(() => helpdesk.close());

type Result = {
  readonly names?: readonly string[];
  readonly rows?: readonly (readonly unknown[])[];
  readonly code?: string;
  readonly rule?: string;
} & Readonly<Record<string, unknown>>;

function python({ root, environment }: Library, script: string) {
  return async (uri: string, role: "app" | "agent"): Promise<readonly Result[]> => {
    const file = fileURLToPath(new URL(script, import.meta.url));
    const { stdout } = await run(PYTHON, [file, uri, role], {
      env: { ...process.env, ...environment, PYTHONPATH: join(root, "usr/lib/python3/dist-packages") },
    });
    return JSON.parse(stdout) as readonly Result[];
  };
}

describe.each([
  ["psycopg 2", psycopg2, "psycopg2_trial.py"],
  ["psycopg 3", psycopg, "psycopg_trial.py"],
] as const)("%s", (_, found, script) => {
  test.skipIf(!found)("as a role that sees everything gets the same bytes", async () => {
    if (!found) return;
    const trial = python(found, script);
    const results = await helpdesk.sameBothWays((uri) => trial(uri, "app"));
    expect(results[0]?.rows).toEqual([[7, "Alice Ng 7", "alice.ng.7@example.com"]]);
    expect(results.find(({ inserted }) => inserted)).toEqual({ inserted: 50 });
  });

  test.skipIf(!found)("as an agent notices nothing but masks", async () => {
    if (!found) return;
    const results = await python(found, script)(helpdesk.uriFor("anna"), "agent");
    expect(JSON.stringify(results)).not.toContain("alice.ng.7@example.com");
    expect(results[0]).toMatchObject({
      names: ["id", "name", "email"],
      rows: [[7, "Alice Ng 7", "a***@example.com"]],
    });
    expect(results).toContainEqual(expect.objectContaining({ names: ["id", "status"], rows: [[7, "open"]] }));
    expect(results.find(({ fetched }) => fetched)?.fetched).toHaveLength(35);
    expect(results.map(({ code }) => code).filter(Boolean)).toEqual(["22012", "54000", "42501"]);
    expect(results.find(({ code }) => code === "54000")?.rule).toBe("roles.agent.rows");
    expect(results.at(-1)?.rows).toEqual([["goes on"]]);
  });
});

async function java({ root }: Library, uri: string, role: "app" | "agent"): Promise<readonly string[]> {
  const url = new URL(uri);
  const folder = join(root, "usr/share/java");
  const jar = (await readdir(folder)).find((file) => /^postgresql.*\.jar$/.test(file)) ?? "postgresql.jar";
  const file = fileURLToPath(new URL("JdbcTrial.java", import.meta.url));
  const target = `jdbc:postgresql://${url.host}${url.pathname}?sslmode=disable`;
  const { stdout } = await run("java", [
    ...["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", join(folder, jar), file],
    ...[target, url.username, url.password, role],
  ]);
  return stdout.trim().split("\n");
}

describe("JDBC", () => {
  test.skipIf(!jdbc)(
    "as a role that sees everything gets the same bytes",
    async () => {
      if (!jdbc) return;
      const lines = await helpdesk.sameBothWays((uri) => java(jdbc, uri, "app"));
      expect(lines).toContain("parts: 2000 rows of 8");
      expect(lines.filter((line) => line.includes("email=alice.ng.7@example.com"))).toHaveLength(6);
    },
    60_000,
  );

  test.skipIf(!jdbc)(
    "as an agent notices nothing but masks",
    async () => {
      if (!jdbc) return;
      const lines = await java(jdbc, helpdesk.uriFor("anna"), "agent");
      const direct = await java(jdbc, helpdesk.database.uriFor("anna", PASSWORDS.anna), "agent");
      const masked = "id=7, name=Alice Ng 7, email=a***@example.com, birth_date=1950-04-30";
      expect(lines.filter((line) => line === masked)).toHaveLength(6);
      // Drivers find tables, columns and keys as ever.
      const about = (all: readonly string[]) => all.filter((line) => /^TABLE_CAT=|^PKTABLE_CAT=/.test(line));
      expect(about(lines).length).toBeGreaterThan(20);
      expect(about(lines)).toEqual(about(direct));
      const told = lines.filter((line) => /^(parts|error|changed)/.test(line));
      expect(told).toEqual([
        "error 22012",
        "parts: 35 rows of 2",
        "parts: error 54000",
        "error 54000",
        "error 42501",
        "changed 1",
      ]);
      expect(lines.at(-1)).toBe("?column?=goes on");
    },
    60_000,
  );
});
