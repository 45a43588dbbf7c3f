import { type Standing, standing, withoutSight } from "../../policy/acting.ts";
import type { Policy, Role } from "../../policy/policy.ts";
import { isRefusal, roleFor } from "../../policy/roles.ts";
import { isUnrestricted, type Scope } from "../../sql/scope.ts";
import { surveyBeginning } from "../../sql/survey.ts";
import { UNREAD } from "../../sql/watched-text.ts";
import { refuseSession } from "../../wire/refusal.ts";
import type { Established } from "../context/established.ts";
import { SessionEnd, type SessionParts } from "../context/parts.ts";
import type { Person } from "../person/person.ts";
import { type Judged, weakly } from "../statement/decision.ts";
import { AwaitedVerdicts } from "./awaited-verdicts.ts";
import { isReadable } from "./readable.ts";
import { leavesTrace, unrecorded } from "./recording.ts";
import { effectiveSchemas, SearchPath } from "./search-path.ts";

/**
 * "transparent": the role sees all; every byte passes as it came. "watched": statements run as they were written, and
 * people are counted: of a watched role, or where the policy only observes.
 */
export type Treatment = "transparent" | "watched" | "guarded";

const NOTHING: ReadonlySet<string> = new Set();

/** Judges a session's statements by the policy, the catalog and the search_path of the moment. */
export class Judging {
  readonly path: SearchPath;
  readonly treatment: Treatment;
  readonly #established: Established;
  readonly #parts: SessionParts;
  /** To be called when a scope that was not there can be asked for again. */
  readonly #wake: () => void;
  #policy: Policy;
  /** Of the user who logged in. */
  #account: Role;
  /** By which statements are judged. */
  #role: Role;
  /** The person an application reads for, where people have roles of their own. */
  #person: Person | undefined;
  /** Every class is masked: the application has never run what is asked. */
  #hides = false;
  /** Held by the catalog in force, and by what is being answered: a session that idles holds none. */
  #scope: WeakRef<Scope> | undefined;
  #setting = "";
  /** The catalog is being looked at because something did not fit it. */
  #looking: Promise<void> | undefined;
  /** After SET ROLE: whose rights hold in place of the session's user's. */
  #acting: string | undefined;
  #asked: Promise<ReadonlySet<string>> | undefined;
  readonly #elsewhere: AwaitedVerdicts;
  #unreadable: ReadonlySet<string> | undefined;

  constructor(established: Established, parts: SessionParts, wake: () => void) {
    this.#established = established;
    this.#parts = parts;
    this.#wake = wake;
    this.#elsewhere = new AwaitedVerdicts(parts.verdicts, wake);
    this.path = new SearchPath(established.parameters.searchPath);
    this.#policy = parts.policy();
    this.#account = this.#roleIn(this.#policy);
    this.treatment = treatmentOf(this.#policy, this.#account);
    this.#role = this.treatment === "guarded" ? this.standing(undefined).role : this.#account;
    // Between login and here the policy may have changed.
    if (this.treatment === "guarded" && established.pinned !== true) throw changed();
  }

  /** The policy changes nothing, and says what it would change. */
  get observes(): boolean {
    return this.#policy.mode === "observe";
  }

  /** By which statements are judged now: of the user, or of the person for whom an application reads. */
  get role(): Role {
    return this.#role;
  }

  /** Of the user who logged in. */
  get account(): Role {
    return this.#account;
  }

  get policy(): Policy {
    return this.#policy;
  }

  /** The person a guarded application reads for; undefined for other sessions, and where no one is named. */
  get person(): string | undefined {
    return this.#person?.name;
  }

  /** Of an application whose people have roles: whether statements of this person are judged as those are now. */
  actsFor(person: Person | undefined, sight: Sight): boolean {
    const next = sightedAs(this.standing(person), sight);
    return next.role === this.#role && next.person?.name === this.#person?.name;
  }

  /** What follows is judged for this person. Nothing may run any more that was judged for another. */
  actFor(person: Person | undefined, sight: Sight): void {
    if (this.actsFor(person, sight)) return;
    const { role, person: named } = sightedAs(this.standing(person), sight);
    this.#person = named;
    this.#hides = sight === "masked";
    this.#role = role;
    this.#scope = undefined;
  }

  /** By which role a person's statements are judged. Whoever has none of an application's roles counts as not named. */
  standing(person: Person | undefined): Standing {
    return standing(this.#policy, this.#account, person);
  }

  /** What statements are judged by now; undefined while something of it is still being asked for. */
  scope(): Scope | undefined {
    const { catalog, policy } = this.#parts;
    const inForce = policy();
    if (inForce !== this.#policy) this.#adopt(inForce);
    if (this.#looking !== undefined) return undefined;
    if (this.treatment !== "transparent" && !this.#knowsUnreadable()) return undefined;
    const known = this.#scope?.deref();
    if (known?.catalog === catalog.current && this.#setting === this.path.setting) return known;
    return this.#make();
  }

  /** Of a transparent session, whose texts are not analysed but looked over. `more`: so many bytes of it follow. */
  survey(text: Buffer, scope: Scope, more: number): Judged {
    if (!isReadable(text, this.#established.parameters)) return { text, scope, verdict: UNREAD };
    if (more === 0) return { text, scope, verdict: this.#parts.verdicts.judge(text, scope) };
    return { text, more, scope, verdict: { kind: "pass", statements: surveyBeginning(text, scope) } };
  }

  /** Undefined while the text is being analysed: ask again after a `wake`. */
  judge(text: Buffer, scope: Scope): Judged | undefined {
    const verdict = this.#elsewhere.verdict(text, scope);
    if (verdict === undefined) return undefined;
    const { audit } = this.#parts;
    if (this.treatment !== "guarded" || audit.accepts !== false) return { text, scope, verdict };
    const { statements } = verdict;
    if (verdict.kind === "refuse" || !statements.some(leavesTrace)) return { text, scope, verdict };
    return { text, scope, verdict: { kind: "refuse", statements, refusal: unrecorded() } };
  }

  /** The client's message has been dealt with. */
  dealtWith(): void {
    this.#elsewhere.clear();
  }

  /** The server's user whose rights hold from now on. */
  actAs(databaseUser: string): void {
    const { user, databaseUser: own = user } = this.#established;
    const acting = databaseUser === own ? undefined : databaseUser;
    if (acting === this.#acting) return;
    this.#acting = acting;
    this.#asked = undefined;
    this.#scope = undefined;
  }

  /** Nothing is judged until the catalog has been looked at again. False: that has just been done. */
  doubt(): boolean {
    const look = this.#parts.catalog.lookAgain();
    if (look === undefined) return false;
    this.#looking = look;
    void look.then(() => {
      if (this.#looking !== look) return;
      this.#looking = undefined;
      this.#wake();
    });
    return true;
  }

  #make(): Scope {
    const { user, parameters, databaseUser } = this.#established;
    const catalog = this.#parts.catalog.current;
    // What the server calls the session's user: the one that "$user" means.
    const called = this.#acting ?? parameters.sessionUser ?? databaseUser ?? user;
    this.#setting = this.path.setting;
    const scope = this.#parts.scopes.of({
      policy: this.#policy,
      role: this.#role,
      user: this.#person?.name ?? user,
      catalog,
      searchPath: effectiveSchemas(this.#setting, called, catalog),
      unreadable: this.#unreadable ?? NOTHING,
      maskKey: this.#parts.maskKey,
    });
    this.#scope = weakly(scope);
    return scope;
  }

  #adopt(policy: Policy): void {
    const account = this.#roleIn(policy);
    if (treatmentOf(policy, account) !== this.treatment) throw changed();
    this.#policy = policy;
    this.#account = account;
    // What runs continues for the person it was begun for.
    const { role, person } = sightedAs(this.standing(this.#person), this.#hides ? "masked" : "own");
    const isGuarded = this.treatment === "guarded";
    this.#role = isGuarded ? role : account;
    this.#person = isGuarded && account.actsAs !== undefined ? person : undefined;
    this.#scope = undefined;
  }

  #roleIn(policy: Policy): Role {
    const role = roleFor(policy, this.#established.user, this.#established.address);
    if (isRefusal(role)) throw new SessionEnd(role);
    return role;
  }

  /** The columns that the user may not read are those of now; asks for them otherwise. */
  #knowsUnreadable(): boolean {
    const acting = this.#acting;
    const current = this.#parts.unreadable(acting === undefined ? this.#established : { user: acting });
    if (current !== this.#asked) this.#ask(current);
    return this.#unreadable !== undefined;
  }

  #ask(asked: Promise<ReadonlySet<string>>): void {
    this.#asked = asked;
    this.#unreadable = undefined;
    const adopt = (columns: ReadonlySet<string>) => {
      if (this.#asked !== asked) return;
      this.#unreadable = columns;
      this.#scope = undefined;
      this.#wake();
    };
    // Without the answer statements name columns that the server then refuses: a nuisance, and no hole.
    asked.then(adopt, () => {
      this.#parts.log.warn("the columns that a user may not read could not be asked for");
      adopt(NOTHING);
    });
  }
}

/** What a role sees: its own classes, or none, for a statement outside of the account's fence. */
export type Sight = "own" | "masked";

/** What a person's role is for a statement with this sight. */
export function sightedAs({ role, person }: Standing, sight: Sight): Standing {
  return { person, role: sight === "masked" ? withoutSight(role) : role };
}

function treatmentOf(policy: Policy, role: Role): Treatment {
  if (role.watch === true) return "watched";
  if (isUnrestricted(role)) return "transparent";
  return policy.mode === "observe" ? "watched" : "guarded";
}

/** Statements, cursors and settings of such a session were made without a guard, or with another: it begins again. */
function changed(): SessionEnd {
  return new SessionEnd(
    refuseSession("57P01", "terminating connection: the policy for this user has changed", {
      hint: "Connect again.",
      ends: "policy",
    }),
  );
}
