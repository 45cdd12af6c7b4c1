export interface DemoTarget {
  /** As `postgres`, who owns the demonstration. */
  adminUrl: string
  /** As the platform, for what the API would do: making users. */
  superuserUrl: string
}

/** Loads the demonstration application and takes it under protection. */
export async function loadDemo(_target: DemoTarget): Promise<void> {
  throw new Error('The demonstration is not there yet.')
}
