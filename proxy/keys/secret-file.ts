import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";

export type SecretText =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly problem: string };

/**
 * The text of a file that holds a secret. As for libpq's key files, no other user may read it; a group may read one that
 * root owns. `shown` is its name in messages.
 */
export function readSecretText(path: string, shown = path): SecretText {
  let file: number | undefined;
  try {
    file = openSync(path, "r");
    // Checks the opened file, not its name, so that the file cannot be replaced in between.
    const { mode, uid } = fstatSync(file);
    if ((mode & (uid === 0 ? 0o037 : 0o077)) !== 0)
      return { ok: false, problem: `others than its owner may read "${shown}"; chmod 600 it` };
    return { ok: true, text: readFileSync(file, "utf8") };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown error";
    return { ok: false, problem: `"${shown}" cannot be read (${code})` };
  } finally {
    if (file !== undefined) closeSync(file);
  }
}
