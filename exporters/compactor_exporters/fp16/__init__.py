"""16-bit artifacts: conversion, and what would overflow."""
