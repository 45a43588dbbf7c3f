import { readFileSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { parseArgs } from "node:util";
import { isMap, isScalar, isSeq, LineCounter, parseDocument } from "yaml";
import { loadSecret } from "../keys/secret.ts";
import { readSecretText } from "../keys/secret-file.ts";
import {
  allForms,
  type Form,
  isUnixSocket,
  SETTING_NAMES,
  SETTINGS,
  type Setting,
  type SettingName,
  type Settings,
} from "./table.ts";

export { type Address, type Addresses, isUnixSocket, type Settings } from "./table.ts";

export type SettingsResult =
  | { readonly ok: true; readonly settings: Settings }
  | { readonly ok: false; readonly problems: readonly string[] };

/** A value as given, with its source: `--listen`, `SLUICE_LISTEN`, `sluice.yaml:3:1`. */
interface Given {
  readonly form: Form;
  readonly source: string;
  readonly text: string;
  /** The start of relative paths. */
  readonly folder: string;
}

/**
 * Reads the settings of `serve`. Flags override variables, which override sluice.yaml, which overrides the defaults.
 */
export function readSettings(argv: readonly string[], env: NodeJS.ProcessEnv): SettingsResult {
  const problems: string[] = [];
  const { config, flags } = readFlags(argv, problems);
  const sources = [flags, readVariables(env), readConfig(config ?? env.SLUICE_CONFIG, problems)];
  const values: Record<string, unknown> = {};
  for (const name of SETTING_NAMES) {
    const given = sources
      .map((source) => source.filter((one) => one.form.name === name))
      .find((s) => s.length);
    if (given && given.length > 1) {
      problems.push(`${given.map((one) => one.source).join(" and ")}: give only one of them`);
    }
    values[name] = given?.[0] ? readGiven(given[0], problems) : defaultOf(name);
  }
  if (problems.length === 0) problems.push(...contradictions(values as unknown as Settings));
  return problems.length > 0
    ? { ok: false, problems }
    : { ok: true, settings: values as unknown as Settings };
}

function defaultOf(name: SettingName): unknown {
  const row: Setting<unknown> = SETTINGS[name];
  if (row.default === undefined) return undefined;
  return row.value.parse(row.default);
}

function readGiven(given: Given, problems: string[]): unknown {
  const row: Setting<unknown> = SETTINGS[given.form.name];
  if (given.form.name === "key" && given.form.inFile) return readKeyFile(given, problems);
  const content = given.form.inFile ? readSecretFile(given, problems) : given.text;
  if (content === undefined) return undefined;
  const checked = row.value.safeParse(content);
  if (!checked.success) {
    const message = checked.error.issues[0]?.message ?? "valid";
    // A form that secrets share says "not …", as their message begins with it.
    const said = row.secret ? message : `"${given.text}" is not ${message.replace(/^not /, "")}`;
    problems.push(`${given.source}: ${said}`);
    return undefined;
  }
  return row.path ? from(given.folder, String(checked.data)) : checked.data;
}

/** The key file may hold any bytes, not only text. */
function readKeyFile(given: Given, problems: string[]): Buffer | undefined {
  const read = loadSecret({ keyFile: from(given.folder, given.text) });
  if (read.ok) return read.secret;
  problems.push(`${given.source}: ${read.problem}`);
  return undefined;
}

function readSecretFile(given: Given, problems: string[]): string | undefined {
  const read = readSecretText(from(given.folder, given.text), given.text);
  if (read.ok) return read.text.trim();
  problems.push(`${given.source}: ${read.problem}`);
  return undefined;
}

function readFlags(argv: readonly string[], problems: string[]) {
  const forms = new Map(allForms().map((form) => [form.flag, form]));
  const names = [...forms.keys()].filter((flag) => flag !== undefined);
  const options = Object.fromEntries([...names, "config"].map((flag) => [flag, { type: "string" as const }]));
  // Not strict: strict mode stops at the first mistake, and its messages do not say what would be right.
  const { tokens } = parseArgs({ args: withSwitches(argv), options, strict: false, tokens: true });
  const flags = new Map<Form, Given>();
  let config: string | undefined;
  for (const token of tokens) {
    if (token.kind === "positional") {
      problems.push(`"${token.value}": settings are given as flags, such as --listen 127.0.0.1:6432`);
    }
    if (token.kind !== "option") continue;
    const form = forms.get(token.name);
    if (!form && token.name !== "config") {
      problems.push(`${token.rawName}: there is no such flag; "sluice serve --help" lists them`);
    } else if (token.value === undefined || (!token.inlineValue && token.value.startsWith("--"))) {
      problems.push(`${token.rawName}: a value is missing`);
    } else if (form) {
      const before = isList(form) ? flags.get(form) : undefined;
      const text = before === undefined ? token.value : `${before.text},${token.value}`;
      flags.set(form, { form, source: token.rawName, text, folder: "." });
    } else {
      config = token.value;
    }
  }
  return { config, flags: [...flags.values()] };
}

function isList({ name }: Form): boolean {
  return (SETTINGS[name] as Setting<unknown>).isList === true;
}

/** A switch without a value is on. */
function withSwitches(argv: readonly string[]): string[] {
  const switches = new Set(
    allForms().flatMap(({ name, flag }) =>
      (SETTINGS[name] as Setting<unknown>).isSwitch ? [`--${flag}`] : [],
    ),
  );
  return argv.map((word, at) =>
    switches.has(word) && (argv[at + 1] ?? "--").startsWith("--") ? `${word}=on` : word,
  );
}

/**
 * Other variables that begin with SLUICE_ are ignored: Kubernetes creates SLUICE_SERVICE_HOST and similar ones for a
 * service of that name. An empty variable counts as not given, because compose files leave unset ones empty.
 */
function readVariables(env: NodeJS.ProcessEnv): readonly Given[] {
  return allForms().flatMap((form) => {
    const given = env[form.variable];
    return given ? [{ form, source: form.variable, text: given, folder: "." }] : [];
  });
}

function readConfig(named: string | undefined, problems: string[]): readonly Given[] {
  const file = named ?? "sluice.yaml";
  let content: string;
  try {
    content = readFileSync(file, "utf8");
  } catch (error) {
    if (named === undefined && codeOf(error) === "ENOENT") return [];
    problems.push(`${file}: cannot be read (${codeOf(error)})`);
    return [];
  }
  return readYaml(file, content, problems);
}

function readYaml(file: string, content: string, problems: string[]): readonly Given[] {
  const lines = new LineCounter();
  // Without pretty errors the parser does not repeat the line, which may contain a password.
  const document = parseDocument(content, { lineCounter: lines, prettyErrors: false });
  const placeOf = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  for (const error of document.errors) problems.push(`${placeOf(error.pos[0])}: ${error.message}`);
  if (document.errors.length > 0 || document.contents === null) return [];
  if (!isMap(document.contents)) {
    problems.push(`${file}:1:1: write one setting a line, such as "listen: 127.0.0.1:6432"`);
    return [];
  }
  const forms = new Map(allForms().map((form) => [form.key, form]));
  return document.contents.items.flatMap(({ key, value: node }) => {
    const name = isScalar(key) ? String(key.value) : "";
    const place = placeOf((isScalar(key) && key.range?.[0]) || 0);
    const form = forms.get(name);
    if (!form || name === "") {
      problems.push(`${place}: there is no setting "${name}"; "sluice serve --help" lists them`);
      return [];
    }
    if (form.name === "databases" && !form.inFile && isMap(node)) {
      const text = node.items.map(({ key: one, value: uri }) => `${one}=${uri}`).join(" ");
      return [{ form, source: place, text, folder: dirname(file) }];
    }
    if (isList(form) && isSeq(node) && node.items.every((item) => isScalar(item))) {
      const text = node.items.map(({ source, value }) => source ?? String(value)).join(",");
      return [{ form, source: place, text, folder: dirname(file) }];
    }
    if (!isScalar(node) || node.value === null) {
      problems.push(`${place}: "${name}" takes one value`);
      return [];
    }
    // The source text preserves what YAML would turn into a number.
    return [{ form, source: place, text: node.source ?? String(node.value), folder: dirname(file) }];
  });
}

/** Problems that involve more than one setting. */
function contradictions(settings: Omit<Settings, "upstream"> & { readonly upstream?: string }): string[] {
  const problems: string[] = [];
  if (settings.upstream === undefined) {
    problems.push("--upstream: missing; name the database, such as postgresql://user@host:5432/database");
  }
  if (settings.auth === "scram" && settings.users === undefined) {
    problems.push('--users: missing; --auth scram needs a users file ("sluice scram" makes its lines)');
  }
  if ((settings.tlsCert === undefined) !== (settings.tlsKey === undefined)) {
    problems.push("--tls-cert and --tls-key: give both or none");
  }
  if (settings.listen.every(isUnixSocket) && settings.tlsCert !== undefined) {
    problems.push("--tls-cert: a Unix socket (--listen) has no TLS");
  }
  if (settings.tlsClientCa !== undefined && settings.tlsCert === undefined) {
    problems.push("--tls-client-ca: needs --tls-cert and --tls-key");
  }
  if (settings.tlsRequired && settings.tlsCert === undefined) {
    problems.push("--tls-required: needs --tls-cert and --tls-key");
  }
  if ((settings.adminTlsCert === undefined) !== (settings.adminTlsKey === undefined)) {
    problems.push("--admin-tls-cert and --admin-tls-key: give both or none");
  }
  if (settings.adminTlsClientCa !== undefined && settings.adminTlsCert === undefined) {
    problems.push("--admin-tls-client-ca: needs --admin-tls-cert and --admin-tls-key");
  }
  const { consoleOidc, consoleOidcClient, consoleOidcRoles, consoleUrl, consoleOidcSecret } = settings;
  if (consoleOidc !== undefined) {
    if (consoleOidcClient === undefined)
      problems.push("--console-oidc-client: missing; which client is the console for --console-oidc?");
    if (consoleOidcRoles === undefined)
      problems.push("--console-oidc-roles: missing; without it no account of --console-oidc gets in");
    if (consoleUrl === undefined)
      problems.push("--console-url: missing; --console-oidc sends browsers back there");
  } else if ((consoleOidcClient ?? consoleOidcRoles ?? consoleOidcSecret) !== undefined)
    problems.push(
      "--console-oidc-client, --console-oidc-roles and --console-oidc-secret-file: need --console-oidc",
    );
  if (settings.alertFormat === "json") {
    if ((settings.alertWebhook === undefined) !== (settings.alertKey === undefined))
      problems.push("--alert-webhook and --alert-key-file: give both or none");
  } else if (settings.alertWebhook === undefined) {
    problems.push(`--alert-webhook: missing; where does --alert-format ${settings.alertFormat} post to?`);
  }
  if ((settings.alertFormat === "pagerduty") !== (settings.alertRoutingKey !== undefined)) {
    problems.push("--alert-routing-key-file and --alert-format pagerduty: give both or none");
  }
  if (settings.auditSink.includes("redis") && settings.redis === undefined) {
    problems.push("--redis: missing; --audit-sink redis writes there");
  }
  for (const name of ["syslog", "otlp", "kafka"] as const)
    if (settings.auditSink.includes(name) !== (settings[name] !== undefined))
      problems.push(`--audit-sink ${name} and --${name}: give both or none`);
  if (settings.syslogCa !== undefined && settings.syslog === undefined)
    problems.push("--syslog-ca: needs --syslog");
  if (settings.kafkaCa !== undefined && settings.kafka?.tls !== true)
    problems.push("--kafka-ca: needs a --kafka that begins with kafka+tls");
  if (settings.kafkaLogin !== undefined && settings.kafka === undefined)
    problems.push("--kafka-login-file: needs --kafka");
  if (settings.kafkaSasl === "plain" && settings.kafka?.tls !== true)
    problems.push(
      "--kafka-sasl plain: needs a --kafka that begins with kafka+tls; it sends the password itself",
    );
  if (settings.kafkaSasl !== "scram-sha-512" && settings.kafkaLogin === undefined)
    problems.push("--kafka-sasl: needs --kafka-login-file");
  if (settings.otlpToken !== undefined && settings.otlp === undefined)
    problems.push("--otlp-token-file: needs --otlp");
  if (settings.workers > 1 && settings.redis === undefined) {
    problems.push("--redis: missing; with several --workers it holds the counters that they share");
  }
  if (settings.redisCa !== undefined && settings.redis?.startsWith("rediss") !== true) {
    problems.push("--redis-ca: needs a --redis that begins with rediss");
  }
  if (settings.redis !== undefined && settings.key === undefined) {
    problems.push("--key-file: missing; with --redis all proxies need the same secret (or SLUICE_KEY)");
  }
  return problems;
}

function from(folder: string, path: string): string {
  return isAbsolute(path) ? path : join(folder, path);
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "unreadable";
}
