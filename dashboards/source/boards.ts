import { guard } from "./guard.ts";
import { overview } from "./overview.ts";
import { performance } from "./performance.ts";
import type { BoardPlan } from "./plan.ts";
import { user } from "./user.ts";

/** All dashboards. */
export const BOARDS: readonly BoardPlan[] = [overview, guard, user, performance];
