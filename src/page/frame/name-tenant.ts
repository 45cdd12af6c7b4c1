/** What people know a tenant by: its id where the application gave it no name, or an empty one. */
export function nameTenant(id: string, name: string | null): string {
  return name?.trim() || id
}
