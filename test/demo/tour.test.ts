import { afterAll, beforeAll, expect, test } from "vitest";
import { DATABASE, fill } from "../../proxy/demo/fill.ts";
import { customerAt } from "../../proxy/demo/made-up-people.ts";
import { type Screen, tableLines } from "../../proxy/demo/screen.ts";
import { tour } from "../../proxy/demo/tour.ts";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { startPostgres } from "../harness/postgres.ts";

let server: RunningPostgres;
beforeAll(async () => {
  server = await startPostgres();
  await fill(server.uri, { customers: 1500, tickets: 600, messages: 900, payments: 400 }, () => {});
});
afterAll(() => server.stop());

function recording(): { readonly screen: Screen; readonly lines: string[] } {
  const lines: string[] = [];
  const take = (text = "") => void lines.push(text);
  const screen: Screen = {
    line: take,
    heading: take,
    statement: (user, sql) => take(`${user}> ${sql}`),
    table: (columns, rows) => void lines.push(...tableLines(columns, rows)),
    good: (text) => take(`good: ${text}`),
    bad: (text) => take(`bad: ${text}`),
    quiet: take,
    progress: take,
  };
  return { screen, lines };
}

test("without Sluice in between, the tour says that everything went through", async () => {
  const { screen, lines } = recording();
  const places = { host: "127.0.0.1", port: server.port, serverPort: server.port, database: DATABASE };
  const findings = await tour(places, screen);
  expect(findings.seen.get("anna")?.email).toBe(customerAt(7).email);
  expect(findings.dumps).toEqual([undefined, undefined, undefined, undefined]);
  expect(findings).toMatchObject({
    lookedUp: 1,
    assigned: undefined,
    rowsOfDump: 1500,
    sideways: [undefined, "2202E", undefined],
    peopleRead: 200,
    stoppedBy: undefined,
    applicationSame: true,
    desk: { stolen: 60, stoppedBy: undefined, othersWork: true },
  });
  expect(lines.filter((line) => line === "bad: went through")).toHaveLength(7);
});

test("a table's columns are as wide as their widest value", () => {
  expect(tableLines(["a", "name"], [["1", "x"], ["22"]])).toEqual([
    " a  | name ".trimEnd(),
    "----+------",
    " 1  | x",
    " 22 |",
  ]);
});
