import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { constantsIn, type RefusalText, refusalsIn } from "./refusal-texts.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PAGE = `${ROOT}docs/refused.md`;
const [BEGIN, END] = ['<!-- made from the source by "npm run docs:refusals" -->', "<!-- end -->"];
/** Where statements and sessions of guarded roles are refused; docs/pooling.md has what a pool refuses. */
const FOLDERS = ["proxy/protocol", "proxy/sql", "proxy/session", "proxy/meter", "proxy/orders"];

function refusals(): readonly RefusalText[] {
  const paths = FOLDERS.flatMap((folder) =>
    readdirSync(ROOT + folder, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .sort()
      .map((name) => `${ROOT}${folder}/${name}`),
  );
  const constants = new Map(paths.flatMap((path) => [...constantsIn(path)]));
  // A file's own constants first: HINT is a name that several have.
  return paths.flatMap((path) => refusalsIn(path, new Map([...constants, ...constantsIn(path)])));
}

function rows(): readonly string[] {
  const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll("<", "\\<");
  const made = refusals().map(
    ({ sqlstate, message, hint }) => `| ${sqlstate} | ${cell(message)} | ${cell(hint)} |`,
  );
  return [...new Set(made)].sort();
}

test("docs/refused.md has every refusal, with its hint", async () => {
  const page = await readFile(PAGE, "utf8");
  const [before, after] = [page.split(BEGIN)[0], page.split(END)[1]];
  const table = ["| SQLSTATE | message | hint |", "| --- | --- | --- |", ...rows()];
  await expect([`${before}${BEGIN}`, "", ...table, "", `${END}${after}`].join("\n")).toMatchFileSnapshot(
    PAGE,
  );
});

test("every refusal of a guarded role's statement says what to do", () => {
  const silent = refusals().filter(({ sqlstate, hint }) => sqlstate === "42501" && hint === "");
  expect(silent.map(({ message, place }) => `${place.slice(ROOT.length)} ${message}`)).toEqual([]);
});

test("no hint leads into another refusal", () => {
  const leading = refusals().filter(({ hint }) =>
    /[Tt]emporary table|\bPREPARE\b|\bCREATE\b|LISTEN|SET ROLE/.test(hint),
  );
  expect(leading.map(({ hint }) => hint)).toEqual([]);
});
