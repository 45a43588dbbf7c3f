/** A command that was typed into the admin database. */
export type Command =
  | { readonly kind: "show"; readonly what: string; readonly argument: string | undefined }
  | { readonly kind: "suspend" | "resume"; readonly user: string; readonly why: string }
  | { readonly kind: "kill"; readonly session: string }
  | { readonly kind: "reload" }
  | { readonly kind: "explain"; readonly user: string; readonly statement: string }
  /** Drivers set parameters when they connect; nothing here depends on any. */
  | { readonly kind: "set" }
  | { readonly kind: "empty" }
  | { readonly kind: "wrong"; readonly problem: string; readonly hint: string };

/** Words as they stand, 'texts' and "names" with their quotes doubled inside, in one pass. */
const TOKEN = /\s*(?:'((?:[^']|'')*)'|"((?:[^"]|"")+)"|([^\s'"]+))/y;

/** Reads one command. As in pgbouncer, commands are words; a semicolon at the end is let be. */
export function readCommand(text: string): Command {
  const trimmed = text.trim().replace(/;$/, "").trim();
  if (trimmed === "") return { kind: "empty" };
  const explained = /^explain\s+as\s+("(?:[^"]|"")+"|[^\s"']+)\s+([\s\S]+)$/i.exec(trimmed);
  if (explained !== null) {
    const [, user = "", statement = ""] = explained;
    return { kind: "explain", user: unquoted(user), statement };
  }
  const words = tokens(trimmed);
  if (words === undefined) return wrong("a quote is not closed", "Double the quotes inside: 'it''s'.");
  const [verb = "", first, ...rest] = words;
  switch (verb.toLowerCase()) {
    case "show":
      return { kind: "show", what: first?.toLowerCase() ?? "help", argument: rest[0] };
    case "suspend":
      if (first === undefined || rest.length !== 1 || rest[0]?.trim() === "")
        return wrong("SUSPEND needs a user and a reason", "SUSPEND anna 'reads the whole customer list';");
      return { kind: "suspend", user: first, why: rest[0] ?? "" };
    case "resume":
      if (first === undefined || rest.length > 1)
        return wrong("RESUME needs a user", "RESUME anna 'a false alarm'; the reason may be left out.");
      return { kind: "resume", user: first, why: rest[0] ?? "" };
    case "kill":
      if (first === undefined || rest.length > 0)
        return wrong("KILL needs the id of a session", "SHOW SESSIONS has the ids.");
      return { kind: "kill", session: first };
    case "reload":
      return { kind: "reload" };
    case "set":
      return { kind: "set" };
    default:
      // In pgbouncer's words.
      return wrong(
        `invalid command '${trimmed.slice(0, 60)}', use SHOW HELP;`,
        "SHOW HELP lists the commands.",
      );
  }
}

function tokens(text: string): readonly string[] | undefined {
  const found: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const match = TOKEN.exec(text);
    if (match === null) return undefined;
    const [, quoted, name, word] = match;
    found.push(quoted?.replaceAll("''", "'") ?? name?.replaceAll('""', '"') ?? word ?? "");
  }
  return found;
}

function unquoted(name: string): string {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name;
}

function wrong(problem: string, hint: string): Command {
  return { kind: "wrong", problem, hint };
}
