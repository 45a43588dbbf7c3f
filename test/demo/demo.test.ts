import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { demo } from "../../proxy/commands/demo.ts";

afterEach(() => vi.restoreAllMocks());

function collected(): { text: string } {
  const output = { text: "" };
  const take = (text: string | Uint8Array) => {
    output.text += String(text);
    return true;
  };
  vi.spyOn(process.stdout, "write").mockImplementation(take);
  vi.spyOn(process.stderr, "write").mockImplementation(take);
  return output;
}

test("one command shows the whole case: masks, a lookup, dumps that stop, a budget that is used up", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-demo-"));
  const output = collected();
  try {
    expect(await demo(["--exit", "--data", folder]), output.text).toBe(0);
    const { text } = output;
    expect(text).toContain("filled in");
    expect(text).toMatch(/email +\| t\*\*\*@example\.com +\| topaz\.bellthorn\.7@example\.com/);
    expect(text).toContain("may not change public.tickets.assignee");
    // The assignment; COPY, all rows, all names in one value, a range; a sum, an error, a plan; and one by one.
    expect(text.match(/(?<=ERROR )\w+(?=: )/g)).toEqual([
      "42501",
      "54000",
      "54000",
      "53400",
      "53400",
      "53400",
      "53400",
      "42501",
      "53400",
    ]);
    // At the help desk's screens the one who steals is stopped, and the other one is not.
    expect(text).toMatch(/ {2}30 customers, then:\n.*429: Not shown .*\(53400\)/);
    expect(text).toContain("help desk  http://127.0.0.1:");
    expect(text).toContain("30 of 5000 rows came");
    // Customer 7 was the first of the thirty.
    expect(text).toContain("29 more people read, then:");
    expect(text).toContain("people who are counted already may be read again by their id");
    expect(text).toContain("the same 100000 rows, value for value");
    expect(text).toContain("psql postgresql://anna:");
    expect(text).toMatch(/console +http:\/\/127\.0\.0\.1:\d+\/console\n +log in with [0-9a-f]{64}\n/);
    expect(text).not.toContain("went through");
    // A question to the log, with all that it needs.
    expect(text).toContain(`--audit ${join(folder, "audit")} --key-file ${join(folder, "key")} \\`);
    expect(text).toMatch(
      /audit read-by anna \\\n.*\n +--upstream postgresql:\/\/helpdesk_app:\S+@127\.0\.0\.1:\d+\/support\n/,
    );

    output.text = "";
    expect(await demo(["--exit", "--data", folder]), output.text).toBe(0);
    expect(output.text).toContain("the data of the last start is used again");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}, 120_000);

test("a mistake in the arguments is told, and nothing is started", async () => {
  const output = collected();
  expect(await demo(["--port", "0"])).toBe(2);
  expect(await demo(["--nope"])).toBe(2);
  expect(output.text).toContain("--port: not a port");
  expect(output.text).toContain("'--nope'");
});
