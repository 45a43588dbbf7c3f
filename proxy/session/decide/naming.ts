import { randomBytes } from "node:crypto";
import { personName } from "../../policy/person-name.ts";
import type { PersonSource, Role } from "../../policy/policy.ts";
import { commentsOf } from "../../sql/comments.ts";
import type { Statement } from "../../sql/verdict.ts";
import { isUnreadable } from "../../sql/watched-text.ts";
import { parameterStatus } from "../../wire/backend-messages.ts";
import type { Outbox } from "../../wire/outbox.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { Established } from "../context/established.ts";
import type { SessionParts } from "../context/parts.ts";
import type { Claim } from "../person/claims.ts";
import { calledIn, type Person, saidBehind } from "../person/person.ts";
import type { Judged } from "../statement/decision.ts";
import type { Certainty } from "./certainty.ts";
import type { Judging } from "./judging.ts";

/** How a text is sent. */
export type Protocol = "simple" | "extended";

/** What names people in a session. */
export interface NamingParts {
  readonly established: Pick<Established, "id" | "user">;
  readonly judging: Pick<Judging, "account" | "policy">;
  readonly certainty: Pick<Certainty, "known">;
  readonly parts: Pick<SessionParts, "claims" | "log" | "now">;
  readonly toClient: Outbox;
  readonly wake: () => void;
}

/** The parameter that a client reads its nonce from (Postgres docs, "Asynchronous Operations": unknown ones are ignored). */
const NONCE = "sluice.nonce";
const NONCE_BYTES = 16;

/** How often at most a session's names that are none are logged. */
const TOLD_EVERY_MS = 60_000;

/** Who reads a text: the person that the policy's sources name, in plain words or in signed claims. */
export class Naming {
  readonly #parts: NamingParts;
  /** What a signed claim has to repeat where it is bound to the connection; undefined where the policy asks for none. */
  readonly #nonce: string | undefined;
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(parts: NamingParts) {
    this.#parts = parts;
    const isBound = parts.judging.account.signedBy?.bound === true;
    this.#nonce = isBound ? randomBytes(NONCE_BYTES).toString("base64url") : undefined;
    if (this.#nonce !== undefined) parts.toClient.send(parameterStatus(NONCE, this.#nonce));
  }

  /** As far as the server has said; a claim that has not been verified yet names no one. */
  personOf(judged: Judged, by: Protocol): Person | undefined {
    const said = this.#said(judged, by);
    const person = said === undefined ? undefined : this.#personIn(said);
    const { judging, established } = this.#parts;
    const { policy, account } = judging;
    const name = person && calledIn(policy, account, established.user, person.name);
    if (person !== undefined && name !== undefined) return { ...person, name };
    if (person !== undefined && personName(person.name) === undefined) this.#tell();
    return undefined;
  }

  /** Whether it is known who a claim names. False: it is being verified, and a `wake` comes. */
  isKnown(judged: Judged, by: Protocol): boolean {
    const { judging, parts, wake } = this.#parts;
    const { signedBy } = judging.account;
    if (signedBy === undefined || parts.claims === undefined) return true;
    const said = this.#said(judged, by);
    return said === undefined || parts.claims.isChecked(said, signedBy, wake);
  }

  /** The name itself may reorder the line in which it stands, or show nothing. */
  #tell(): void {
    const { parts, established } = this.#parts;
    const now = parts.now();
    if (now - this.#toldAt < TOLD_EVERY_MS) return;
    this.#toldAt = now;
    const { id: session, user } = established;
    parts.log.warn(
      { session, user },
      "a name is too long or has characters that show nothing: it names nobody",
    );
  }

  #personIn(said: string): Person | undefined {
    const { judging, parts } = this.#parts;
    const { signedBy } = judging.account;
    if (signedBy === undefined) return { name: said, values: [] };
    const claim = parts.claims?.named(said, signedBy);
    if (claim === undefined) return undefined;
    const isForeign = signedBy.bound && (this.#nonce === undefined || claim.nonce !== this.#nonce);
    return isForeign ? undefined : { name: claim.person, values: rolesIn(claim, judging.account) };
  }

  #said({ text, verdict }: Judged, by: Protocol): string | undefined {
    const { judging, certainty } = this.#parts;
    const { peopleBehind } = judging.account;
    const { known } = certainty;
    if (peopleBehind === undefined || known === undefined) return undefined;
    // Who is named may change within the text, also in one that cannot be read.
    const isUnread = by === "simple" && verdict.statements.some(({ unread }) => unread);
    if (isUnread || verdict.statements.slice(0, -1).some(mayRename)) return undefined;
    const isScanned = !isUnreadable(verdict) && hasComment(peopleBehind);
    const comments = isScanned ? commentsOf(text) : isUnreadable(verdict) ? undefined : NO_COMMENTS;
    return saidBehind(peopleBehind, { settings: known.settings, comments });
  }
}

/** What the claim that gives roles holds: a text or a list of texts; anything else says nothing. */
function rolesIn({ payload }: Claim, { actsAs }: Role): readonly string[] {
  if (actsAs?.kind !== "claim" || !Object.hasOwn(payload, actsAs.claim)) return [];
  return [payload[actsAs.claim]].flat().filter((each) => typeof each === "string");
}

/** The refusal where the policy shows no one unless a person is named. */
export function nobodyNamed({ name }: Pick<Role, "name">): Refusal {
  return refuse("42501", "no person is named who reads this", {
    hint: 'The application has to name the person as "people_behind:" of its role requires.',
    rule: `roles.${name}.unnamed`,
  });
}

const NO_COMMENTS: readonly string[] = [];

function hasComment(sources: readonly PersonSource[]): boolean {
  return sources.some(({ kind }) => kind === "comment");
}

function mayRename({ touch, effect }: Statement): boolean {
  return touch?.session === true || (effect?.kind === "transaction" && effect.ends);
}
