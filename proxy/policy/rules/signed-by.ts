import { z } from "zod";
import type { PersonSource } from "../policy.ts";
import { mapping } from "../schema.ts";
import { placeOfKey, roleRule } from "./rule.ts";

const HINT =
  "{ jwks: keys.json }, { jwks: https://login.example.com/jwks } or { key_file: claims.key }, with claim:, issuer:, audience: and bound: true as you need them.";

const fields = {
  claim: z.string().min(1).optional().describe("The claim that names the person (sub)."),
  issuer: z.string().min(1).optional().describe("What the claim iss has to be."),
  audience: z.string().min(1).optional().describe("What the claim aud has to be or have."),
  bound: z
    .boolean({ error: "true or false." })
    .optional()
    .describe("The claim nonce has to be the connection's own, which the proxy reports as sluice.nonce."),
};

export const signedBy = roleRule("signedBy", {
  keys: {
    signed_by: {
      schema: z.union(
        [
          mapping({ jwks: z.string().min(1), ...fields }, HINT),
          mapping({ key_file: z.string().min(1), ...fields }, HINT),
        ],
        { error: HINT },
      ),
      about:
        "What the sources of people_behind say has to be a JSON Web Token that is signed with one of these keys and has not " +
        "expired; anything else names no person. If left out, the application is trusted.",
      example: { jwks: "keys.json", claim: "sub", bound: true },
    },
  },
  compile({ name, entry, document }, base) {
    const said = entry.signed_by;
    if (said === undefined) return base;
    const { claim = "sub", issuer, audience, bound = false } = said;
    return {
      ...("jwks" in said ? { kind: "jwks", at: said.jwks } : { kind: "secret", at: said.key_file }),
      ...{ place: document.placeOf(["roles", name, "signed_by"]), claim, bound },
      ...(issuer !== undefined && { issuer }),
      ...(audience !== undefined && { audience }),
    };
  },
  watched: "people",
  check(source, { name, watch, actsAs, peopleBehind, signedBy: said }, problems) {
    if ((watch !== true && actsAs === undefined) || said === undefined) return;
    const place = placeOfKey(source, "signed_by");
    if (peopleBehind === undefined) {
      const what = `role "${name}" names the signers of claims, but not the claims that name people`;
      problems.error(place, what, 'Add "people_behind:", or remove it.');
    }
    // A source whose text cannot be a signed token would never name a person.
    for (const each of peopleBehind ?? []) {
      const cannot = UNSIGNED[each.kind === "setting" && each.path !== undefined ? "path" : each.kind];
      if (cannot === undefined) continue;
      const hint = "Pass the token itself, in a setting (setting: app.token) or in a comment.";
      problems.error(place, `role "${name}" requires signed claims, and ${cannot}`, hint);
    }
    if (said.kind === "jwks" && /^[a-z]+:\/\//i.test(said.at) && !isSafeUrl(said.at)) {
      const hint = "Public keys are fetched over https; name an https URL, or a file.";
      problems.error(place, `"${said.at}" could be changed on its way`, hint);
    }
  },
  fact: {
    label: "Names are signed by",
    lines: (said) =>
      said === undefined ? [] : [[said.kind === "jwks" ? `the keys at ${said.at}` : "a shared secret"]],
  },
});

const UNSIGNED: Readonly<Record<PersonSource["kind"] | "path", string | undefined>> = {
  setting: undefined,
  comment: undefined,
  path: "a path leads into claims that are decoded already, which are not signed",
  application_name: "an application_name has no room for one (63 bytes)",
  role: "SET ROLE takes none",
};

function isSafeUrl(at: string): boolean {
  return URL.canParse(at) && new URL(at).protocol === "https:";
}
