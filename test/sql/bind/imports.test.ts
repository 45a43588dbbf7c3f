import { readdir, readFile } from "node:fs/promises";
import { join, normalize, relative } from "node:path";
import { expect, test } from "vitest";
import { STAGES } from "../../../proxy/sql/stages.ts";

const SQL = "proxy/sql";

/** Files of the project that each file of a folder imports, relative to proxy/sql/. */
async function importsOf(folder: string): Promise<ReadonlyMap<string, readonly string[]>> {
  const files = await readdir(join(SQL, folder));
  const pairs = files.map(async (file) => {
    const text = await readFile(join(SQL, folder, file), "utf8");
    const named = [...text.matchAll(/from "(\.[^"]+)"/g)].map(([, path = ""]) =>
      relative(SQL, normalize(join(SQL, folder, path))),
    );
    return [`${folder}/${file}`, named] as const;
  });
  return new Map(await Promise.all(pairs));
}

const folders = STAGES.flatMap(({ folder, imports }) => (folder === undefined ? [] : [{ folder, imports }]));

test.each(folders)("the stage $folder imports no later one", async ({ folder, imports }) => {
  const foreign = [...(await importsOf(folder)).values()]
    .flat()
    .filter((path) => !path.startsWith(`${folder}/`) && !imports.some((allowed) => path.startsWith(allowed)));
  expect(foreign).toEqual([]);
});

test.each(folders)("no file of the stage $folder imports itself by way of others", async ({ folder }) => {
  const imports = await importsOf(folder);
  const circles: string[] = [];
  const follow = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) circles.push([...path, file].join(" → "));
    else for (const next of imports.get(file) ?? []) follow(next, [...path, file]);
  };
  for (const file of imports.keys()) follow(file, []);
  expect(circles).toEqual([]);
});
