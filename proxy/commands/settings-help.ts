import { formsOf, SETTING_NAMES, SETTINGS, type Setting } from "../settings/table.ts";

const INTRODUCTION = "usage: sluice serve --upstream URI [FLAGS]";

const SOURCES = [
  "Every flag can also be a variable (--tls-cert: SLUICE_TLS_CERT) or a line of sluice.yaml",
  "(tls_cert: …). A flag goes before a variable, a variable before sluice.yaml.",
  "What may hold a password can be kept in a file: --upstream-file, --control-file, --redis-file,",
  "--alert-webhook-file, --databases-file, --console-upstream-file.",
  "A password on the command line can be seen in the process list.",
];

/** The text of `sluice serve --help`, from the table of settings. */
export function settingsHelp(): string {
  const rows = SETTING_NAMES.map((name) => {
    const row: Setting<unknown> = SETTINGS[name];
    const form = formsOf(name).find((one) => one.flag !== undefined);
    const placeholder = form?.inFile ? "FILE" : row.placeholder;
    return [`--${form?.flag} ${placeholder}`, described(row)] as const;
  });
  rows.push(["--config FILE", "settings of a file other than ./sluice.yaml"]);
  const width = Math.max(...rows.map(([flag]) => flag.length)) + 2;
  const lines = rows.flatMap(([flag, what]) => {
    const [first = "", ...rest] = wrapped(what, 76);
    return [`  ${flag.padEnd(width)}${first}`, ...rest.map((line) => `${" ".repeat(width + 2)}${line}`)];
  });
  return [INTRODUCTION, "", ...lines, "", ...SOURCES, ""].join("\n");
}

/** docs/settings.md, from the same table; a test holds the file to it. */
export function settingsDocument(): string {
  const rows = SETTING_NAMES.map((name) => {
    const row: Setting<unknown> = SETTINGS[name];
    const cells = (["flag", "variable", "key"] as const).map((column) =>
      formsOf(name)
        .map((form) => form[column])
        .filter((word) => word !== undefined)
        .map((word) => `\`${column === "flag" ? "--" : ""}${word}\``)
        .join(" "),
    );
    const standard = row.default === undefined ? "" : `\`${row.default}\``;
    return `| ${[...cells, standard, row.what].join(" | ")} |`;
  });
  return [
    "# Settings of `sluice serve`",
    "",
    "Made from `proxy/settings/table.ts`; `npx vitest run test/commands/help.test.ts -u` writes it again.",
    "",
    "A flag goes before an environment variable, a variable before `sluice.yaml` (`--config FILE` or",
    "`SLUICE_CONFIG` name another file), and that before the default. A relative path in `sluice.yaml`",
    "starts at that file's folder. Settings with a second form that ends in `file` can be kept in a file",
    "of that name; only its owner may be able to read it.",
    "",
    "| flag | variable | key of `sluice.yaml` | default | what |",
    "| --- | --- | --- | --- | --- |",
    ...rows,
    "",
    "Times: `250ms`, `60s`, `5m`, `1h`. Sizes: `512kB`, `64MB`, `1GB` (of 1024).",
    "",
  ].join("\n");
}

function described(row: Setting<unknown>): string {
  return row.default === undefined ? row.what : `${row.what} (${row.default})`;
}

function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
