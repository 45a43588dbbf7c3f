import type { PolicyDocument } from "./document.ts";
import { personName } from "./person-name.ts";
import type { Role } from "./policy.ts";
import type { Problems } from "./problems.ts";

/** By the names that applications give: the user who is the same person. */
export function compilePeople(
  documents: readonly PolicyDocument[],
  roles: ReadonlyMap<string, Role>,
  problems: Problems,
): Map<string, string> {
  const people = new Map<string, string>();
  const entries = documents.flatMap((document) =>
    Object.entries(document.content.people ?? {}).map(([user, names]) => ({ document, user, names })),
  );
  const users = new Set([
    ...entries.map(({ user }) => user),
    ...[...roles.values()].flatMap((role) => role.users.flatMap(({ text, exact }) => (exact ? [text] : []))),
  ]);
  const accounts = new Set(
    [...roles.values()].flatMap((role) =>
      role.peopleBehind === undefined ? [] : role.users.flatMap(({ text, exact }) => (exact ? [text] : [])),
    ),
  );
  for (const { document, user, names } of entries) {
    if (accounts.has(user))
      problems.error(
        document.placeOfKey(["people", user]),
        `"${user}" is an application's own user, and no person`,
        "What is read under one of these names would be read by nobody. Name the user of a person.",
      );
    // The user's own name may be written in another form.
    const own = personName(user);
    if (own !== undefined && own !== user) people.set(own, user);
    names.forEach((written, i) => {
      const name = personName(written);
      if (name === undefined) {
        problems.error(
          document.placeOf(["people", user, i]),
          `no person can be called ${JSON.stringify(written)}`,
          "A name has up to 128 characters, and none that shows nothing.",
        );
        return;
      }
      const other = people.get(name) ?? (users.has(name) ? name : user);
      if (other === user) people.set(name, user);
      else
        problems.error(
          document.placeOf(["people", user, i]),
          `"${name}" is a name of "${user}", and of "${other}"`,
          "A name means one person: what is read under it is charged to them.",
        );
    });
  }
  return people;
}
