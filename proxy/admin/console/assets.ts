import { readFile } from "node:fs/promises";

/** A file that pages name. */
export interface Asset {
  readonly contentType: string;
  readonly text: string;
}

const TYPES = {
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
} as const;

/** By path. They lie beside this file; `npm run build` copies them. */
export async function readAssets(): Promise<ReadonlyMap<string, Asset>> {
  const read = async (name: string, type: keyof typeof TYPES) => {
    const text = await readFile(new URL(`./assets/${name}.${type}`, import.meta.url), "utf8");
    return [`/console/${name}.${type}`, { contentType: TYPES[type], text }] as const;
  };
  return new Map(await Promise.all([read("console", "css"), read("console", "js"), read("console", "svg")]));
}
