import { useQuery } from '@tanstack/react-query'
import type { PageServices } from '../calls/call-function.ts'

/** Who is signed in, by id; null until that is known. */
export function useViewerId({ supabase }: PageServices): string | null {
  const viewer = useQuery({
    queryKey: ['viewer'],
    queryFn: async () => (await supabase.auth.getSession()).data.session?.user.id ?? '',
    staleTime: 0,
  })
  return viewer.data ?? null
}
