import type { Ledger } from "../../protocol/ledger.ts";
import type { Statement } from "../../sql/verdict.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { SessionParts } from "../context/parts.ts";
import { Certainty, type Surroundings } from "../decide/certainty.ts";
import type { Fencing } from "../decide/fencing.ts";
import type { Judging, Sight } from "../decide/judging.ts";
import { Naming, type NamingParts, nobodyNamed, type Protocol } from "../decide/naming.ts";
import { type ProbeMessages, probeMessages } from "../decide/probe.ts";
import { anybody, isForbidden, touchesData } from "../decide/touching.ts";
import { type Person, settingsOf } from "../person/person.ts";
import type { Judged } from "../statement/decision.ts";

/** What the messages of an application's session depend on. */
interface ActingParts extends Omit<NamingParts, "certainty" | "judging"> {
  readonly judging: Judging;
  readonly parts: SessionParts;
  readonly ledger: Pick<Ledger, "isEnding">;
}

/**
 * The people for whom a guarded application reads (`acts_as:`). Each statement is judged by the role of the person whom
 * its sources will name when the server reaches it. If that is uncertain, no person is named.
 */
export class Acting {
  readonly certainty: Certainty;
  readonly #parts: ActingParts;
  readonly #naming: Naming;
  /** The text of the message at hand, as it would be for a role that may do all. */
  #atHand: Judged | undefined;
  #by: Protocol = "simple";
  #probe: { readonly settings: readonly string[]; readonly messages: ProbeMessages } | undefined;

  constructor(parts: ActingParts) {
    this.#parts = parts;
    this.certainty = new Certainty(parts.ledger, parts.judging);
    this.#naming = new Naming({ ...parts, certainty: this.certainty });
  }

  /** A message with this text is at hand. False: the text is being analysed, and a `wake` comes. */
  take(text: Buffer, by: Protocol): boolean {
    this.#by = by;
    const { judging, parts } = this.#parts;
    const scope = judging.scope();
    const role = anybody(judging.account);
    this.#atHand = scope && judging.judge(text, parts.scopes.of({ ...scope, role }));
    return this.#atHand !== undefined;
  }

  /** Nothing of the text depends on who asks for it: SET, BEGIN, COMMIT. */
  get isAside(): boolean {
    return this.#atHand?.verdict.kind !== "refuse" && this.#statements.every(isAside);
  }

  /** Whether it is known who the current text names. False: a claim is being verified, and a `wake` comes. */
  get isKnown(): boolean {
    return this.#atHand === undefined || this.#naming.isKnown(this.#atHand, this.#by);
  }

  get person(): Person | undefined {
    const judged = this.#atHand;
    return judged === undefined || judged.verdict.kind === "refuse"
      ? undefined
      : this.#naming.personOf(judged, this.#by);
  }

  /** Whose the text at hand is on record. One that depends on nobody waits for no answer: that of whoever is surely named. */
  get onRecord(): Pick<Judged, "person" | "role"> {
    const { judging } = this.#parts;
    if (!this.isAside) return { person: judging.person, role: judging.role.name };
    const { person, role } = judging.standing(this.certainty.known && this.person);
    return { person: person?.name, role: role.name };
  }

  /** What the role sees for the text at hand. */
  sightBy(fencing: Fencing): Sight {
    return this.#atHand === undefined ? "masked" : fencing.sight(this.#atHand);
  }

  /** Why the current text may not read or write: it names no one, or the person is suspended. */
  get refusal(): Refusal | undefined {
    const { judging } = this.#parts;
    const isRefused = judging.person === undefined && judging.account.unnamed === "refuse";
    if (isRefused && this.#statements.some(touchesData)) return nobodyNamed(judging.account);
    return this.#statements.some(isForbidden) ? this.suspended : undefined;
  }

  /** Why no more rows of this statement may leave. */
  cutOff(shape: Statement): Refusal | undefined {
    return touchesData(shape) ? this.suspended : undefined;
  }

  /** Why the person is cut off for whom statements are judged; undefined: they are not. */
  get suspended(): Refusal | undefined {
    const { judging, parts } = this.#parts;
    return judging.person === undefined ? undefined : parts.suspended?.(judging.person);
  }

  /** The message at hand has been sent to run. */
  sent(): void {
    this.certainty.sent(this.#statements);
    if (this.#statements.some(({ effect }) => effect?.kind === "fetch")) this.certainty.doubt();
  }

  /** Parse and Bind run code as well: the planner works out what is constant, a domain checks a parameter. */
  prepared(): void {
    if (this.#statements.some(({ touch }) => touch?.session)) this.certainty.doubt();
  }

  /** What asks the server for all that names people. */
  get probe(): ProbeMessages {
    const settings = settingsOf(this.#parts.judging.account.peopleBehind ?? []);
    if (this.#probe?.settings.join() !== settings.join())
      this.#probe = { settings, messages: probeMessages(settings) };
    return this.#probe.messages;
  }

  /** Those that the last probe asked for. */
  get asked(): readonly string[] {
    return this.#probe?.settings ?? [];
  }

  answered(surroundings: Surroundings): void {
    const { judging } = this.#parts;
    judging.path.answer(surroundings.searchPath);
    judging.actAs(surroundings.currentUser);
    this.certainty.answered(surroundings);
  }

  get #statements(): readonly Statement[] {
    return this.#atHand?.verdict.statements ?? [];
  }
}

function isAside({ kind, command, effect }: Statement): boolean {
  if (kind === "transaction") return true;
  return kind === "session" && (command === "SHOW" || (effect !== undefined && ASIDE.has(effect.kind)));
}

const ASIDE: ReadonlySet<string> = new Set(["set", "discard", "deallocate"]);
