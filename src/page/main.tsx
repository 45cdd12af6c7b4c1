// In a layer: whatever file comes first, our own styles win.
import '@mantine/core/styles.layer.css'
import './theme.css'
import { createRoot } from 'react-dom/client'
import { Shell } from './shell.tsx'

const root = document.getElementById('root')
if (root === null) throw new Error('The page has no place to be in.')
createRoot(root).render(<Shell />)
