import { Alert, Button, Text } from '@mantine/core'
import { Component, type ReactNode } from 'react'
import { Icon } from './icons.tsx'

/**
 * Catches what a part of the page that is loaded on demand throws: most often its file is gone, because a
 * newer version of the page was published meanwhile. The rest of the page stays.
 */
export class PartBoundary extends Component<{ children: ReactNode }, { hasFailed: boolean }> {
  override state = { hasFailed: false }

  static getDerivedStateFromError(): { hasFailed: boolean } {
    return { hasFailed: true }
  }

  override render(): ReactNode {
    if (!this.state.hasFailed) return this.props.children
    return (
      <Alert
        color="red"
        role="alert"
        title="This part of the page could not be loaded"
        icon={<Icon name="cross" />}
      >
        <Text size="sm">
          Your backups are not affected. Load the page again; what you chose is kept in its address.
        </Text>
        <Button size="xs" variant="default" mt="sm" onClick={() => window.location.reload()}>
          Load the page again
        </Button>
      </Alert>
    )
  }
}
