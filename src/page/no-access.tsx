import { List, Paper, Text, Title } from '@mantine/core'
import classes from './page.module.css'

/** For members without rights, and people whose membership is gone: who can help, not an error. */
export function NoAccess() {
  return (
    <Paper withBorder p="xl" className={classes.card}>
      <Title order={1} size="h2">
        You can't see backups with this account
      </Title>
      <Text mt="sm" maw="60ch">
        Only owners and admins of an organization can see its backups and create new ones. Your
        account is neither, or no longer.
      </Text>
      <List mt="sm" spacing={4}>
        <List.Item>
          To have a backup taken or looked at, ask an owner or admin of your organization.
        </List.Item>
        <List.Item>
          If you should be one yourself, ask them to check your role, then reload this page.
        </List.Item>
      </List>
    </Paper>
  )
}
