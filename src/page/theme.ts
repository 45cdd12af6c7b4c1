import { createTheme } from '@mantine/core'

/** Blue acts, green is proven good, amber wants a look, red failed, grey is nothing. */
export const theme = createTheme({
  primaryColor: 'blue',
  defaultRadius: 'md',
  cursorType: 'pointer',
  respectReducedMotion: true,
  components: {
    Badge: {
      defaultProps: {
        variant: 'light',
        tt: 'none',
        radius: 'sm',
        size: 'md',
        fz: 12,
        h: 22,
        fw: 600,
        lts: 0,
      },
    },
    Modal: { defaultProps: { lockScroll: false, centered: true } },
  },
})
