import { z } from "zod";
import type { PersonSource } from "../policy.ts";
import { mapping } from "../schema.ts";
import { roleRule } from "./rule.ts";

const HINT =
  "setting: app.agent, setting: { name: request.jwt.claims, path: sub }, comment: user, " +
  'application_name: "helpdesk/(.+)" or role: true.';

const settingName = z.string({ error: HINT }).regex(/^(?!sluice\.)[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)+$/i, {
  error: "A setting of the application's own, with a dot, as in app.agent.",
});

const KEYS =
  'Keys with dots between them, as in user.sub; or a list, as in ["https://example.com/user", sub].';

const said = { error: KEYS };

/** A key with a dot in it can stand in a list alone. */
const keyPath = z.union(
  [z.string(said).regex(/^[^.]+(\.[^.]+)*$/, said), z.array(z.string(said).min(1, said), said).min(1, said)],
  said,
);

const source = z.union(
  [
    mapping({ setting: settingName }, HINT),
    mapping({ setting: mapping({ name: settingName, path: keyPath }, HINT) }, HINT),
    mapping({ comment: z.string().regex(/^[\w.-]{1,64}$/, { error: "A key, as in user." }) }, HINT),
    mapping({ application_name: z.string().min(1) }, HINT),
    mapping({ role: z.literal(true) }, HINT),
  ],
  { error: HINT },
);

export const peopleBehind = roleRule("peopleBehind", {
  keys: {
    people_behind: {
      schema: z.array(source, { error: HINT }).min(1, { error: HINT }),
      about:
        "Of a role with watch or acts_as: what names the person for whom the application reads. The first that says something does. " +
        "That person is counted, limited, logged and suspended by name. If left out, no person is named.",
      example: [{ setting: "app.agent" }, { comment: "user" }],
    },
  },
  compile({ name, entry, document }, base, { problems }) {
    if (entry.people_behind === undefined) return base;
    return entry.people_behind.flatMap((said, i): PersonSource[] => {
      if ("comment" in said) return [{ kind: "comment", key: said.comment }];
      if ("role" in said) return [{ kind: "role" }];
      if ("setting" in said) {
        const { setting } = said;
        if (typeof setting === "string") return [{ kind: "setting", name: setting }];
        const { name, path } = setting;
        return [{ kind: "setting", name, path: typeof path === "string" ? path.split(".") : path }];
      }
      const pattern = patternOf(said.application_name);
      if (pattern !== undefined) return [{ kind: "application_name", pattern }];
      problems.error(
        document.placeOf(["roles", name, "people_behind", i]),
        "application_name is no regular expression with one group",
        'As in "helpdesk/(.+)": the group is the name of the person.',
      );
      return [];
    });
  },
  watched: "people",
  fact: {
    label: "People behind it are named by",
    lines: (sources) => (sources ?? []).map((each) => [textOf(each)]),
  },
});

/** A pattern for the whole name, with one group. Undefined if the text is not such a pattern. */
function patternOf(text: string): RegExp | undefined {
  try {
    const groups = new RegExp(`${text}|`).exec("")?.length;
    return groups === 2 ? new RegExp(`^(?:${text})$`, "u") : undefined;
  } catch {
    return undefined;
  }
}

function textOf(source: PersonSource): string {
  switch (source.kind) {
    case "setting":
      return ["setting", source.name, ...(source.path ?? []).map(keyText)].join(" ");
    case "comment":
      return `comment ${source.key}`;
    case "application_name":
      return "application_name";
    case "role":
      return "SET ROLE";
  }
}

function keyText(key: string): string {
  return /^[\w-]+$/.test(key) ? key : JSON.stringify(key);
}
