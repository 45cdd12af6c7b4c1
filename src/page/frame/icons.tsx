import type { ReactNode } from 'react'

/** Marks of a state and of a few buttons; always beside words, so hidden from screen readers. */
export type IconName =
  | 'changed'
  | 'left'
  | 'check'
  | 'attention'
  | 'cross'
  | 'running'
  | 'nothing'
  | 'pin'
  | 'plus'
  | 'up'
  | 'down'
  | 'unsorted'
  | 'back'
  | 'more'
  | 'filter'
  | 'search'
  | 'download'
  | 'edit'
  | 'missed'
  | 'pinned'
  | 'held'
  | 'proven'
  | 'copy'

const SHAPES: Record<IconName, ReactNode> = {
  left: <path d="m14 6-6 6 6 6" />,
  changed: <path d="M4.5 13.5c2.2-4.4 5-4.4 7.5-1.5s5.3 2.9 7.5-1.5" />,
  check: <path d="m5 12.5 4.5 4.5L19 7.5" />,
  attention: <path d="M12 5v8.5M12 18.5v.01" />,
  cross: <path d="m7 7 10 10M17 7 7 17" />,
  running: <path d="M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4" />,
  nothing: <path d="M6 12h12" />,
  pin: <path d="M12 14v6M8 4h8l-1 5 3 5H6l3-5-1-5Z" />,
  plus: <path d="M12 5v14M5 12h14" />,
  up: <path d="m6 15 6-6 6 6" />,
  down: <path d="m6 9 6 6 6-6" />,
  unsorted: <path d="m8 9.5 4-4 4 4M8 14.5l4 4 4-4" />,
  back: <path d="M4.5 9h9a5.5 5.5 0 0 1 0 11H9M4.5 9 9 4.5M4.5 9 9 13.5" />,
  more: <path d="M5 12h.01M12 12h.01M19 12h.01" />,
  filter: <path d="M4 6h16M7 12h10M10 18h4" />,
  search: <path d="M16 16l4 4M18 11a7 7 0 1 1-14 0 7 7 0 0 1 14 0Z" />,
  download: <path d="M12 4v11M7 11l5 5 5-5M5 20h14" />,
  edit: <path d="M4 20h4L19 9l-4-4L4 16v4Z" />,
  pinned: <path fill="currentColor" d="M12 4.5 19.5 12 12 19.5 4.5 12Z" />,
  held: <path d="M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3" />,
  proven: (
    <path d="M12 3.5 19 6v5.5c0 4.5-3 7.5-7 9-4-1.5-7-4.5-7-9V6l7-2.5ZM9 12l2.2 2.2L15.2 10" />
  ),
  copy: <path d="M9 9h11v11H9zM5 15H4V4h11v1" />,
  missed: <circle cx="12" cy="12" r="6.5" />,
}

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg
      aria-hidden="true"
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      strokeWidth={2.4}
      strokeLinecap="round"
      strokeLinejoin="round"
    >
      {SHAPES[name]}
    </svg>
  )
}
