import { readFile, stat } from "node:fs/promises";
import { parseVerifier, type Verifier } from "./scram.ts";

/** The users who may log in with `--auth scram`: verifiers by user name. */
export type Users = ReadonlyMap<string, Verifier>;

export type UsersResult =
  | { readonly ok: true; readonly users: Users }
  /** Each names the file, and the line if there is one; none repeats its content. */
  | { readonly ok: false; readonly problems: readonly string[] };

/** `"user" "SCRAM-SHA-256$…"`: pgbouncer's userlist.txt; a quote inside is doubled. */
const LINE = /^\s*"((?:[^"]|"")+)"\s+"((?:[^"]|"")*)"\s*$/;

/** Reads a users file. Verifiers are secrets, like pg_authid: a list of them allows offline guessing. */
export async function readUsersFile(path: string): Promise<UsersResult> {
  try {
    const { mode } = await stat(path);
    if ((mode & 0o027) !== 0) {
      const problem = `${path}: others may read it, or the group may write it; run "chmod 640 ${path}"`;
      return { ok: false, problems: [problem] };
    }
    return parseUsers(await readFile(path, "utf8"), path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unreadable";
    return { ok: false, problems: [`${path}: cannot be read (${code})`] };
  }
}

/** Parses the text of a users file; `path` is for messages. If one line is invalid, the whole file is. */
export function parseUsers(text: string, path: string): UsersResult {
  const users = new Map<string, Verifier>();
  const problems: string[] = [];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    // As in pgbouncer, a semicolon starts a comment.
    if (/^\s*(;|$)/.test(line)) continue;
    const problem = addLine(users, line);
    if (problem !== undefined) problems.push(`${path}:${index + 1}: ${problem}`);
  }
  if (users.size === 0 && problems.length === 0) problems.push(`${path}: no user in it; no one could log in`);
  return problems.length > 0 ? { ok: false, problems } : { ok: true, users };
}

function addLine(users: Map<string, Verifier>, line: string): string | undefined {
  const match = LINE.exec(line);
  if (!match) return 'write "user" "SCRAM-SHA-256$…", as "sluice scram user" prints it';
  const user = unquote(match[1]);
  const verifier = parseVerifier(unquote(match[2]));
  if (!verifier) {
    return 'a SCRAM-SHA-256 verifier only, no plain password and no md5; "sluice scram user" makes one';
  }
  if (users.has(user)) return "this user is in the file twice";
  users.set(user, verifier);
  return undefined;
}

/** One line of a users file. */
export function formatUser(user: string, verifier: string): string {
  return `"${quote(user)}" "${quote(verifier)}"`;
}

function quote(text: string): string {
  return text.replaceAll('"', '""');
}

function unquote(text = ""): string {
  return text.replaceAll('""', '"');
}
